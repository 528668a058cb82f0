#!/bin/sh
# Prints the rule file of the workload, for the edge that is named.
last=$((LISTEN + RANGE - 1))
protocol=tcp
[ "$MODE" = udp ] && protocol=udp
[ "$1" = local ] || printf '[[edge]]\nname = "%s"\n\n' "$1"
printf '[[rule]]\nname = "bench"\nedges = ["%s"]\nprotocol = "%s"\nlisten_address = "%s"\n' "$1" "$protocol" "$HOST"
if [ "$MODE" = range ]; then
  printf 'listen_ports = "%d-%d"\ntarget = "127.0.0.1:%d-%d"\n' "$LISTEN" "$last" "$TARGET" $((TARGET + RANGE - 1))
else
  printf 'listen_port = %d\ntarget = "127.0.0.1:%d"\n' "$LISTEN" "$TARGET"
fi
if [ "$protocol" = udp ]; then
  printf 'udp_max_flows = 16384\n'
else
  printf 'connect_timeout_ms = 5000\nidle_timeout_secs = 60\nmax_connections = 100000\nhealth_check_interval_secs = 5\n'
fi
