#!/bin/sh
# Builds what is measured and what measures it, and starts the driver in a network namespace of its own.
set -e
here=$(cd "$(dirname "$0")" && pwd)
root=$(dirname "$here")
case " $* " in
# These need nothing built.
*' --help '* | *' -h '* | *' --list '* | *' --tables '*) exec env PYTHONDONTWRITEBYTECODE=1 python3 "$here/driver" "$@" ;;
esac
target=${CARGO_TARGET_DIR:-$root/target}
if [ -z "$BENCH_NO_BUILD" ]; then
  cargo build --release --quiet --manifest-path "$root/Cargo.toml" -p portunus
  cargo build --release --quiet --manifest-path "$root/Cargo.toml" -p portunus-edge --example forward
  cargo build --release --quiet --manifest-path "$here/loadgen/Cargo.toml" --target-dir "$target/bench"
fi
PORTUNUS_BIN=${PORTUNUS_BIN:-$target/release/portunus}
FORWARD_BIN=${FORWARD_BIN:-$target/release/examples/forward}
LOADGEN_BIN=${LOADGEN_BIN:-$target/bench/release/loadgen}
export PORTUNUS_BIN FORWARD_BIN LOADGEN_BIN PYTHONDONTWRITEBYTECODE=1
ulimit -n "$(ulimit -Hn)"
if [ -z "$BENCH_NO_NETNS" ] && [ "$(id -u)" = 0 ]; then
  # shellcheck disable=SC2016 # the inner shell's own arguments
  exec unshare -n sh -c 'ip link set lo up; exec env BENCH_NETNS=1 python3 "$@"' sh "$here/driver" "$@"
fi
exec python3 "$here/driver" "$@"
