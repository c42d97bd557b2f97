#!/usr/bin/env bash
# Debian's Python and NumPy with a chosen BLAS, for this processor or, emulated, for another:
#
#     debian.sh openblas|reference|blis|mkl -m module argument ...
#
# $ARCHITECTURE is Debian's name, such as arm64. MKL is for amd64 only; $PYTHON's pip fetches it. The first call fetches
# into the user's cache: 130 MB, 700 MB more for MKL, 450 MB for the emulators. It installs nothing.
set -euo pipefail
blas=$1 native=$(dpkg --print-architecture)
shift
architecture=${ARCHITECTURE:-$native}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/exact-mlp
home=$cache/$architecture-$blas

# fetch FOLDER ARCHITECTURE APT'S ARGUMENT ...: unpack what `apt-get ARGUMENT ...` downloads, unless the folder is there
fetch() (
    folder=$1 architecture=$2
    shift 2
    [ ! -d "$folder" ] || exit 0
    temporary=$(mktemp -d)
    trap 'rm -rf "$temporary" "$folder.part"' EXIT
    mkdir -p "$temporary"/{lists,archives}/partial "$folder.part"
    touch "$temporary/status" # no package is installed, so apt fetches all that the packages need
    apt=(apt-get -qy -o APT::Architecture="$architecture" -o APT::Architectures="$architecture" -o APT::Sandbox::User=
        -o APT::Install-Recommends=false -o Dir::Cache="$temporary" -o Dir::State="$temporary"
        -o Dir::State::Lists="$temporary/lists" -o Dir::State::status="$temporary/status")
    "${apt[@]}" update >&2
    cd "$temporary/archives"
    "${apt[@]}" "$@" >&2
    for package in *.deb; do dpkg -x "$package" "$folder.part"; done
    mv "$folder.part" "$folder"
)

case $blas in
openblas) package=libopenblas0-pthread chosen=(openblas-pthread/libopenblas.so.0 openblas-pthread/libopenblas.so.0) ;;
blis) package=libblis4-serial chosen=(blis-serial/libblis.so.4 lapack/liblapack.so.3) ;;
reference) package=libblas3 chosen=(blas/libblas.so.3 lapack/liblapack.so.3) ;;
mkl) package=libblas3 chosen=(mkl/libmkl_rt.so.3 mkl/libmkl_rt.so.3) ;;
esac
fetch "$home" "$architecture" --download-only install python3-numpy "$package"
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
emulator=()
if [ "$architecture" != "$native" ]; then
    fetch "$cache/emulators" "$native" download qemu-user
    emulator=("$cache/emulators/usr/bin/qemu-$architecture")
fi
export PYTHONHOME=$home/usr PYTHONNOUSERSITE=1 MKL_INTERFACE_LAYER=LP64 MKL_THREADING_LAYER=SEQUENTIAL
exec "${emulator[@]}" "$home"/usr/lib*/ld*.so.? --library-path "$home/chosen:$libraries/mkl:$libraries" \
    "$home"/usr/bin/python3.?? "$@"
