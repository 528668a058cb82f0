#!/bin/sh
# The data plane alone (edge/examples/forward.rs): the distance to `portunus` is what the rest of the edge costs.
[ "$MODE" = tcp ] && [ -x "$FORWARD_BIN" ] || exit 77
exec "$FORWARD_BIN" "$HOST:$LISTEN=127.0.0.1:$TARGET"
