#!/bin/sh
# venv.sh PYTHON DIR WHAT: make the virtual environment DIR if it is not there, and install WHAT in it, editable.
#
# Debian splits the part of `venv` that brings pip off Python. Where it is missing, root installs it; anybody else gets
# the same pip from Debian's package of it, unpacked in a temporary place, which needs no rights.
set -eu
python=$1 dir=$2 what=$3

[ -n "$python" ] || { echo "There is no python3 here: install Python 3.11 or later." >&2; exit 1; }
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
  echo "$python is $("$python" -V 2>&1): Batchery needs Python 3.11 or later (make PYTHON=...)." >&2; exit 1; }

pip_from_debian() {
  box=$(mktemp -d)
  trap 'rm -rf "$box"' EXIT
  mkdir -p "$box/lists/partial" "$box/cache/archives/partial"
  apt="apt-get -q -o Dir::State::lists=$box/lists -o Dir::Cache=$box/cache -o APT::Sandbox::User=$(id -un)"
  $apt update && (cd "$box" && $apt download python3-pip-whl) && dpkg-deb -x "$box"/python3-pip-whl_*.deb "$box/deb" &&
    "$python" -m venv --without-pip "$dir" &&
    "$dir/bin/python" "$(echo "$box"/deb/usr/share/python-wheels/pip-*.whl)/pip" install -q pip
}

make_venv() {
  "$python" -m venv "$dir" >/dev/null 2>&1 && return
  rm -rf "$dir"
  "$python" -m virtualenv "$dir" >/dev/null 2>&1 && return
  command -v apt-get >/dev/null || return
  echo "This Python lacks the part of venv that brings pip; getting it from Debian ..."
  if [ "$(id -u)" = 0 ]; then
    { apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q install -y python3-venv; } >/dev/null &&
      "$python" -m venv "$dir"
  else
    pip_from_debian >/dev/null
  fi
}

if ! "$dir/bin/python" -m pip --version >/dev/null 2>&1; then
  rm -rf "$dir"
  make_venv || {
    rm -rf "$dir"
    echo "This Python cannot make a virtual environment. Install what it lacks: sudo apt-get install python3-venv" >&2
    exit 1
  }
fi
echo "Installing $what into $dir ..."
"$dir/bin/python" -m pip install -q --disable-pip-version-check --no-warn-script-location -e "$what"
