#!/usr/bin/env bash
# Debian's Python and NumPy with a chosen BLAS, for this processor or, emulated, for another:
#
#     debian.sh ARCHITECTURE[:CPU] openblas|reference|blis|mkl -m module argument ...
#
# ARCHITECTURE is Debian's name, such as s390x, or "native". CPU is one that `qemu-x86_64 -cpu help` lists, such as
# amd64:Nehalem. MKL is for amd64 only; $PYTHON's pip fetches it. The first call fetches into the user's cache: 130 MB,
# 700 MB more for MKL, 450 MB for the emulators. It installs nothing.
set -euo pipefail
IFS=: read -r architecture cpu <<<"$1"
blas=$2 native=$(dpkg --print-architecture)
shift 2
architecture=${architecture/native/$native}
case $architecture in # Debian 13 never had loong64, and its index names packages of the others that mirrors lack
loong64 | ppc64el | s390x) suite=forky ;;
*) suite=trixie ;;
esac
case $architecture in # the emulator's name
amd64) machine=x86_64 ;; arm64) machine=aarch64 ;; armhf) machine=arm ;;
loong64) machine=loongarch64 ;; ppc64el) machine=ppc64le ;; *) machine=$architecture ;;
esac
cache=${XDG_CACHE_HOME:-$HOME/.cache}/exact-mlp
home=$cache/$architecture-$blas

# fetch FOLDER ARCHITECTURE SUITE APT'S ARGUMENT ...: unpack what `apt-get ARGUMENT ...` downloads, unless it is there
fetch() (
    folder=$1 architecture=$2 suite=$3
    shift 3
    [ ! -d "$folder" ] || exit 0
    temporary=$(mktemp -d)
    trap 'rm -rf "$temporary" "$folder.part"' EXIT
    mkdir -p "$temporary"/{lists,archives}/partial "$folder.part"
    touch "$temporary/status" # no package is installed, so apt fetches all that the packages need
    read -r mirror key < <(apt-get indextargets --format '$(REPO_URI) $(SIGNED_BY)' 'Created-By: Packages' \
        'Component: main') # of this machine
    echo "deb [signed-by=$key] $mirror $suite main" >"$temporary/sources"
    apt=(apt-get -qy -o APT::Architecture="$architecture" -o APT::Architectures="$architecture" -o APT::Sandbox::User=
        -o APT::Install-Recommends=false -o Dir::Cache="$temporary" -o Dir::State="$temporary"
        -o Dir::State::Lists="$temporary/lists" -o Dir::State::status="$temporary/status"
        -o Dir::Etc::SourceList="$temporary/sources" -o Dir::Etc::SourceParts=/dev/null)
    "${apt[@]}" update >&2
    cd "$temporary/archives"
    "${apt[@]}" "$@" >&2
    for package in *.deb; do dpkg -x "$package" "$folder.part"; done
    for name in lib lib64; do # emulated programs look for their loader there
        [ -e "$folder.part/$name" ] || ln -s "usr/$name" "$folder.part/$name"
    done
    mv "$folder.part" "$folder"
)

case $blas in
openblas) package=libopenblas0-pthread chosen=(openblas-pthread/libopenblas.so.0 openblas-pthread/libopenblas.so.0) ;;
blis) package=libblis4-serial chosen=(blis-serial/libblis.so.4 lapack/liblapack.so.3) ;;
reference) package=libblas3 chosen=(blas/libblas.so.3 lapack/liblapack.so.3) ;;
mkl) package=libblas3 chosen=(mkl/libmkl_rt.so.3 mkl/libmkl_rt.so.3) ;;
esac
fetch "$home" "$architecture" "$suite" --download-only install python3-numpy "$package"
libraries=$(echo "$home"/usr/lib/*-linux-gnu*)
if [ "$blas" = mkl ] && [ ! -d "$libraries/mkl" ]; then
    "${PYTHON:-python3}" -m pip download -q --no-deps --only-binary :all: -d "$home/wheel" mkl==2026.2.0 >&2
    "${PYTHON:-python3}" -m zipfile -e "$home"/wheel/*.whl "$home/wheel"
    rm "$home"/wheel/*/data/lib/libmkl_*{ilp64,thread}* # interfaces that are not used
    mv "$home"/wheel/*/data/lib "$libraries/mkl"
    rm -r "$home/wheel"
fi
# NumPy uses the first libblas.so.3 and liblapack.so.3 that the loader finds
mkdir -p "$home/chosen"
ln -sf "$libraries/${chosen[0]}" "$home/chosen/libblas.so.3"
ln -sf "$libraries/${chosen[1]}" "$home/chosen/liblapack.so.3"
search=$home/chosen:$libraries/mkl:$libraries
if [ "$architecture" = "$native" ] && [ ! "$cpu" ]; then
    start=("$home"/usr/lib*/ld*.so.? --library-path "$search")
else
    fetch "$cache/emulators" "$native" trixie download qemu-user
    start=("$cache/emulators/usr/bin/qemu-$machine" ${cpu:+-cpu "$cpu"} -L "$home" -E LD_LIBRARY_PATH="$search")
fi
export PYTHONHOME=$home/usr PYTHONNOUSERSITE=1 MKL_INTERFACE_LAYER=LP64 MKL_THREADING_LAYER=SEQUENTIAL
exec "${start[@]}" "$home"/usr/bin/python3.?? "$@"
