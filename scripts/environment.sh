# Sourced by quickstart.sh and test.sh: an environment with the project and the extra EXTRA.
#
#   make_environment EXTRA      sets PYTHON to the environment's interpreter
#
# VENV=DIR selects another environment than .venv; it is created if it does not exist. Installed
# packages are reused; only missing ones are downloaded.

case ${VENV:-/} in /*) ;; *) VENV=$PWD/$VENV ;; esac # relative to the caller's directory
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Threads that spin while they wait for each other cost minutes on a busy machine; let them sleep.
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}

NEEDED_GB=8 # the GPU build of torch takes 5.5, the rest 0.5; the difference is for unpacking

fail() {
    printf '\n%s: %s\n' "$(basename "$0")" "$1" >&2
    exit 1
}

find_python() {
    local candidate
    for candidate in "${PYTHON:-}" python3.12 python3.11 python3 python; do
        if [ -n "$candidate" ] && "$candidate" -c \
            'import sys; sys.exit(not (3, 11) <= sys.version_info[:2])' 2>/dev/null; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    fail "no Python 3.11 or newer found. Install one, or select it with PYTHON=/path/to/python3.12 bash '$0'"
}

check_disk() {
    local place free
    place=$1
    while [ ! -d "$place" ]; do place=$(dirname "$place"); done
    free=$(df -Pk "$place" | awk 'NR == 2 { print int($4 / 1048576) }')
    [ "$free" -ge "$NEEDED_GB" ] || fail "only $free GB free at $place, PyTorch with its libraries \
needs $NEEDED_GB. Free some space, or create the environment elsewhere: VENV=/big/disk/venv bash '$0'"
}

# Print each requirement of the project with the extra $1 that is not installed.
missing_packages() {
    "$PYTHON" - "$1" <<'END'
import sys, tomllib
from importlib.metadata import PackageNotFoundError, version
from pip._vendor.packaging.requirements import Requirement

project = tomllib.load(open("pyproject.toml", "rb"))["project"]
wanted = project["dependencies"] + project["optional-dependencies"][sys.argv[1]]
for line in [*wanted, "setuptools>=77"]:
    requirement = Requirement(line)
    try:
        is_met = requirement.specifier.contains(version(requirement.name), prereleases=True)
    except PackageNotFoundError:
        is_met = False
    if not is_met:
        print(line)
END
}

make_environment() {
    local extra venv missing home
    extra=$1
    venv=${VENV:-.venv}
    if [ ! -x "$venv/bin/python" ]; then
        local base
        base=$(find_python) || exit 1
        check_disk "$venv"
        echo "Creating the environment $venv with $("$base" --version)"
        "$base" -m venv "$venv" || fail "could not create $venv"
    fi
    PYTHON=$(cd "$venv/bin" && pwd)/python
    "$PYTHON" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2])' \
        || fail "$venv has $("$PYTHON" --version), but 3.11 or newer is needed. Remove it, or select another one: VENV=DIR bash '$0'"
    missing=$(missing_packages "$extra") || fail "could not list the packages of $venv"
    if [ -n "$missing" ]; then
        case $missing in *torch*) check_disk "$venv" ;; esac
        echo "Installing into $venv:" $missing
        # torch comes in many packages and takes several minutes to download.
        printf '%s\n' "$missing" | xargs -d '\n' "$PYTHON" -m pip install --quiet --progress-bar on \
            || fail "pip failed; see above. Run the same command again to continue"
    fi
    home=$(cd / && "$PYTHON" -c 'import os, colorize; print(os.path.realpath(colorize.__path__[0]))' 2>/dev/null || true)
    if [ "$home" != "$(pwd -P)/colorize" ]; then
        "$PYTHON" -m pip install --quiet --no-deps --no-build-isolation --editable . \
            || fail "could not install the project itself; see above"
    fi
}
