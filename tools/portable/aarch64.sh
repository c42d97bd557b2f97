#!/usr/bin/env bash
# Python with NumPy for aarch64, emulated on Debian 13 for x86-64: `aarch64.sh -m module argument ...`
#
# The first call fetches the emulator and the rest into the user's cache (a minute, 270 MB). It installs nothing.
set -euo pipefail
source "$(dirname "$0")/debian.sh"
numpy=$(grep -o '^numpy==[0-9.]*' "$(dirname "$0")/../../requirements.txt")
home=$cache/aarch64-${numpy#numpy==}

build() {
    rm -rf "$home.part"
    mkdir -p "$home.part"/{emulator,system}
    unpack "$home.part/emulator" "$native" qemu-user
    unpack "$home.part/system" arm64 libc6 libgcc-s1 libstdc++6 zlib1g libexpat1 libbz2-1.0 liblzma5 libffi8 \
        libssl3t64 libzstd1 libuuid1 python3.13-minimal libpython3.13-minimal libpython3.13-stdlib
    ln -sfn usr/lib "$home.part/system/lib" # the program loader is looked for there
    unpack_wheel "$home.part/system/site" "$numpy" --implementation cp --python-version 3.13 \
        --platform manylinux_2_28_aarch64 --platform manylinux_2_27_aarch64 --platform manylinux2014_aarch64
    mv "$home.part/emulator/usr/bin/qemu-aarch64" "$home.part/qemu-aarch64"
    rm -r "$home.part/emulator" # emulators of other processors
    mv "$home.part" "$home"
}

[ -d "$home" ] || build
exec "$home/qemu-aarch64" -L "$home/system" -E PYTHONHOME="$home/system/usr" \
    -E PYTHONPATH="$home/system/site:${PYTHONPATH:-}" "$home/system/usr/bin/python3.13" "$@"
