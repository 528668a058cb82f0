#!/bin/sh
# An edge with everything on: rules from a server over its control session, counters, timeouts, health.
[ -x "$PORTUNUS_BIN" ] || exit 77
# Builds before mutual TLS need no code to join.
if ! "$PORTUNUS_BIN" edge --help | grep -q -e --join; then
  exec "$PORTUNUS_BIN" edge --server "http://127.0.0.1:$CONTROL" --name edge-01 --state-dir "$BENCH_TMP/edge" \
    --log-level warn
fi
if [ ! -e "$BENCH_TMP/edge/membership" ]; then
  export PORTUNUS_STATE_DIR="$BENCH_TMP/server" PORTUNUS_SERVER="http://127.0.0.1:$((CONTROL + 1))"
  # The server may have been started a moment ago.
  for _ in $(seq 50); do
    PORTUNUS_EDGE_JOIN=$("$PORTUNUS_BIN" edge-token create edge-01 2>/dev/null) && break
    sleep 0.1
  done
  export PORTUNUS_EDGE_JOIN
fi
exec "$PORTUNUS_BIN" edge --name edge-01 --state-dir "$BENCH_TMP/edge" --log-level warn
