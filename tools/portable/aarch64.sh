#!/usr/bin/env bash
# Python with NumPy for aarch64, run under emulation on an x86-64 Debian or Ubuntu: `aarch64.sh -m module argument ...`
#
# The first call fetches what it needs into a folder of its own in the user's cache (a minute, 200 MB). Debian's packages
# are only unpacked there, none is installed; the emulator itself is, if it is missing and this is root.
set -euo pipefail
numpy=$(grep -o '^numpy==[0-9.]*' "$(dirname "$0")/../requirements.txt")
python=${PYTHON:-python3} # whose pip fetches NumPy
home=${XDG_CACHE_HOME:-$HOME/.cache}/exact-mlp/aarch64-${numpy#numpy==}

build() {
    command -v qemu-aarch64-static >&2 || { apt-get -q update && apt-get -q install -y qemu-user-static; } >&2
    rm -rf "$home.part"
    mkdir -p "$home.part"/{lists/partial,archives/partial,packages,wheels,system}
    cd "$home.part"
    local foreign=(-q -o APT::Architecture=arm64 -o APT::Architectures=arm64
        -o Dir::State::Lists="$PWD/lists" -o Dir::Cache="$PWD")
    apt-get "${foreign[@]}" update >&2
    (cd packages && apt-get "${foreign[@]}" download libc6 libgcc-s1 libstdc++6 zlib1g libexpat1 libbz2-1.0 \
        liblzma5 libffi8 libssl3t64 libzstd1 libuuid1 python3.13-minimal libpython3.13-minimal libpython3.13-stdlib >&2)
    for package in packages/*.deb; do dpkg -x "$package" system; done
    ln -sfn usr/lib system/lib # where the program loader is looked for
    "$python" -m pip download -q --no-deps --only-binary :all: --implementation cp --python-version 3.13 \
        --platform manylinux_2_28_aarch64 --platform manylinux_2_27_aarch64 --platform manylinux2014_aarch64 \
        -d wheels "$numpy" >&2
    "$python" -m zipfile -e wheels/numpy-*.whl system/site
    rm -rf lists archives packages wheels
    mv "$home.part" "$home"
}

[ -d "$home" ] || (build)
exec qemu-aarch64-static -L "$home/system" -E PYTHONHOME="$home/system/usr" -E PYTHONPATH="$home/system/site" \
    "$home/system/usr/bin/python3.13" "$@"
