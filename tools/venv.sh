#!/bin/sh
# venv.sh PYTHON DIR WHAT: make the virtual environment DIR if it is not there, and install WHAT in it, editable.
# Debian splits `venv` off Python; where it is missing, root installs it and others are told what to ask for.
set -eu
python=$1 dir=$2 what=$3
if [ ! -x "$dir/bin/pip" ]; then
  rm -rf "$dir"
  if ! "$python" -m venv "$dir" >/dev/null 2>&1; then
    rm -rf "$dir"
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
      apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq python3-venv >/dev/null
      "$python" -m venv "$dir"
    elif "$python" -m virtualenv "$dir" >/dev/null 2>&1; then
      :
    else
      echo "This Python cannot make a virtual environment. Install it with: sudo apt-get install python3-venv" >&2
      exit 1
    fi
  fi
fi
echo "Installing $what into $dir ..."
"$dir/bin/pip" install -q --disable-pip-version-check -e "$what"
