#!/usr/bin/env bash
# Debian's Python and NumPy with another BLAS than OpenBLAS: `blas.sh reference|blis|mkl -m module argument ...`
#
# Debian's NumPy uses the first libblas.so.3 and liblapack.so.3 that the loader finds. The first call fetches NumPy and
# the BLAS into the user's cache (a few seconds; 60 MB, or 700 MB for Intel's MKL). It installs nothing.
set -euo pipefail
source "$(dirname "$0")/debian.sh"
blas=$1
shift
home=$cache/blas-$blas

# Fetch the packages, and link the chosen libraries to the two names in the folder `chosen`.
build() (
    rm -rf "$home.part"
    mkdir -p "$home.part/chosen"
    cd "$home.part/chosen"
    case $blas in
    reference)
        unpack .. "$native" python3-numpy libblas3 liblapack3 libgfortran5
        ln -s ../usr/lib/*/blas/libblas.so.3 ../usr/lib/*/lapack/liblapack.so.3 .
        ;;
    blis)
        unpack .. "$native" python3-numpy libblis4-serial liblapack3 libgfortran5
        ln -s ../usr/lib/*/blis-serial/libblis.so.4 libblas.so.3
        ln -s ../usr/lib/*/lapack/liblapack.so.3 .
        ;;
    mkl)
        unpack .. "$native" python3-numpy
        unpack_wheel ../wheel mkl==2026.2.0
        rm ../wheel/*/data/lib/libmkl_*{ilp64,thread}* # interfaces that are not used below
        mv ../wheel/*/data/lib/libmkl_* .
        rm -r ../wheel
        ln -s libmkl_rt.so.3 libblas.so.3
        ln -s libmkl_rt.so.3 liblapack.so.3
        ;;
    esac
    mv "$home.part" "$home"
)

[ -d "$home" ] || build
export MKL_INTERFACE_LAYER=LP64 MKL_THREADING_LAYER=SEQUENTIAL
export LD_LIBRARY_PATH="$home/chosen:$(echo "$home"/usr/lib/*-linux-gnu)" # the second holds libgfortran
export PYTHONPATH="$home/usr/lib/python3/dist-packages:${PYTHONPATH:-}"
exec /usr/bin/python3 "$@"
