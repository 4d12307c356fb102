#!/bin/sh
# Runs the suite, as the sdist holds it, on every interpreter from 3.8 to 3.15 that is found (on the PATH or under pyenv), each
# with the newest requests and urllib3 it takes, and on the oldest of them with the oldest stack. ALL=1: a missing one fails,
# up to 3.13; 3.14 and 3.15 are not everywhere yet.
set -u
cd "$(dirname "$0")/.." || exit 2
top=$PWD
export PIP_DISABLE_PIP_VERSION_CHECK=1 COVERAGE_CORE=
failed=""

python_of() {
    command -v "python$1" 2>/dev/null && "python$1" -c '' 2>/dev/null && return
    ls -d "${PYENV_ROOT:-$HOME/.pyenv}/versions/$1".*/bin/python 2>/dev/null | tail -n 1
}

suite() {  # name, python, further requirements
    name=$1 python=$2
    shift 2
    venv=$top/.venv-$name
    "$python" -m venv "$venv" && "$venv/bin/python" -m pip install -q -e '.[test]' "$@" || { failed="$failed $name"; return; }
    printf '%-8s %s: ' "$name" "$("$venv/bin/python" -c 'import requests, sys, urllib3
print("Python %d.%d.%d, requests" % sys.version_info[:3], requests.__version__ + ", urllib3", urllib3.__version__)')"
    "$venv/bin/python" -m pytest -q -n 4 -p no:cacheprovider >"$venv/log" 2>&1 || { failed="$failed $name"; tail -n 40 "$venv/log"; }
    tail -n 1 "$venv/log"
}

"${PYTHON:-python3}" -m venv .venv-sdist && .venv-sdist/bin/python -m pip install -q build || exit 1
rm -rf .venv-sdist/out && .venv-sdist/bin/python -m build -q --sdist -o .venv-sdist/out . || exit 1
tar xzf .venv-sdist/out/*.tar.gz -C .venv-sdist/out && cd .venv-sdist/out/*/ || exit 1

for version in 3.8 3.9 3.10 3.11 3.12 3.13 3.14 3.15; do
    python=$(python_of $version | tail -n 1)
    if [ -z "$python" ]; then
        printf '%-8s not found: pyenv install %s' "$version" "$version"
        case $version in
            3.14 | 3.15) echo ", or on Debian sid (a chroot will do): apt install python$version-venv redis-server" ;;
            *) echo; [ -z "${ALL:-}" ] || failed="$failed $version" ;;
        esac
        continue
    fi
    suite "$version" "$python"
    [ $version != 3.8 ] || suite oldest "$python" requests==2.25.0 urllib3==1.26.0
done

[ -z "$failed" ] || { echo "failed:$failed"; exit 1; }
