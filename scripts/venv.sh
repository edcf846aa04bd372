# Sourced by run, test and lint: the virtual environment at the repository's root.
# shellcheck shell=bash
#
#   venv_ready EXTRA    .venv has this checkout installed, with EXTRA ("", "test" or one of pyproject.toml's others)
#
# pip is asked only when pyproject.toml, the checkout's place or the Python has changed: .venv/.installed-EXTRA keeps
# what was installed last.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$root/.venv

fail() {
  printf '%s\n' "$@" >&2
  exit 1
}

# The first Python that is new enough, by name.
find_python() {
  local candidate
  for candidate in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      printf '%s\n' "$candidate"
      return
    fi
  done
  fail "Python 3.11 or later is needed and none of ${PYTHON:-python3, python3.14 ... python3.11} is one." \
    "On Debian 12, Raspberry Pi OS 12 and later: sudo apt install python3 python3-venv"
}

venv_python_version() {
  "$venv/bin/python" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null
}

make_venv() {
  local python package=python3-venv
  python=$(find_python) || exit
  [[ $python == python3 ]] || package=$(basename "$python")-venv
  "$python" -c 'import ensurepip, venv' 2>/dev/null ||
    fail "$python cannot make virtual environments here: sudo apt install $package"
  echo "making .venv with $python"
  "$python" -m venv --clear "$venv" || fail "making $venv failed"
}

installed_key() {
  printf '%s %s ' "$root" "$1"
  sha256sum <"$root/pyproject.toml"
}

venv_ready() {
  local extra=$1 version key stamp target=$root quiet=()
  mkdir -p "$root/.cache"
  exec 9>"$root/.cache/venv.lock"
  flock --nonblock 9 || { echo "another run is setting up .venv: waiting for it" && flock 9; }

  version=$(venv_python_version) || { make_venv && version=$(venv_python_version); }
  key=$(installed_key "$version")
  for stamp in "$venv/.installed-$extra" "$venv/.installed-test" "$venv/.installed-clients"; do
    [[ $extra != clients || $stamp == *-clients ]] || continue # it is more than the others are
    if [[ -f $stamp && $(<"$stamp") == "$key" ]]; then
      echo "python  $venv ($version, as it was)"
      exec 9>&-
      return
    fi
  done

  "$venv/bin/python" -m pip --version >/dev/null 2>&1 || make_venv
  echo "installing moltbot-edge${extra:+ and what its tests need} into .venv"
  [[ -t 1 ]] || quiet=(--quiet)
  [[ -z $extra ]] || target="${root}[$extra]"
  "$venv/bin/python" -m pip install "${quiet[@]}" --disable-pip-version-check --no-input --editable "$target" ||
    fail "" "Installing into .venv failed; pip says why above. Is this machine online? Run the same command again then."
  printf '%s\n' "$key" >"$venv/.installed-$extra"
  echo "python  $venv ($version, installed)"
  exec 9>&-
}
