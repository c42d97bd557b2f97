# Functions for aarch64.sh and blas.sh. They fetch packages and unpack them into a folder; they install nothing.

cache=${XDG_CACHE_HOME:-$HOME/.cache}/exact-mlp
native=$(dpkg --print-architecture)
python=${PYTHON:-python3} # its pip fetches wheels

# unpack FOLDER ARCHITECTURE PACKAGE ...: unpack Debian's packages into the folder
unpack() (
    local folder=$1 architecture=$2
    shift 2
    temporary=$(mktemp -d)
    trap 'rm -rf "$temporary"' EXIT
    mkdir -p "$temporary"/{lists/partial,archives/partial,packages}
    local apt=(apt-get -q -o APT::Architecture="$architecture" -o APT::Architectures="$architecture"
        -o Dir::State::Lists="$temporary/lists" -o Dir::Cache="$temporary" -o APT::Sandbox::User=)
    "${apt[@]}" update >&2
    (cd "$temporary/packages" && "${apt[@]}" download "$@" >&2)
    for package in "$temporary"/packages/*.deb; do dpkg -x "$package" "$folder"; done
)

# unpack_wheel FOLDER REQUIREMENT [PIP'S OPTION ...]: unpack a wheel into the folder
unpack_wheel() (
    local folder=$1 requirement=$2
    shift 2
    temporary=$(mktemp -d)
    trap 'rm -rf "$temporary"' EXIT
    "$python" -m pip download -q --no-deps --only-binary :all: "$@" -d "$temporary" "$requirement" >&2
    "$python" -m zipfile -e "$temporary"/*.whl "$folder"
)
