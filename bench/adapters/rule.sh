#!/bin/sh
# Prints the rule file of the workload, for the edge that is named.
last=$((LISTEN + RANGE - 1))
protocol=tcp
[ "$MODE" = udp ] && protocol=udp
[ "$1" = local ] || printf '[[edge]]\nname = "%s"\n\n' "$1"
if [ "$MODE" = probes ]; then
  # One rule per port, and no address twice.
  exec awk -v edge="$1" -v host="$HOST" 'BEGIN {
    for (r = 0; r < ENVIRON["RULES"]; r++) {
      printf "[[rule]]\nname = \"r%d\"\nedges = [\"%s\"]\nlisten_address = \"%s\"\nlisten_port = %d\ntargets = [\n",
        r, edge, host, ENVIRON["LISTEN"] + r
      for (t = 0; t < ENVIRON["EACH"]; t++) {
        n = r * ENVIRON["EACH"] + t
        printf "  { host = \"127.1.%d.%d\", port = %d },\n", int(n / 250), n % 250 + 1, ENVIRON["TARGET"]
      }
      printf "]\n[rule.health]\nkind = \"tcp\"\ninterval_secs = %d\n\n", ENVIRON["INTERVAL"]
    }
  }'
fi
printf '[[rule]]\nname = "bench"\nedges = ["%s"]\nprotocol = "%s"\nlisten_address = "%s"\n' "$1" "$protocol" "$HOST"
if [ "$MODE" = range ]; then
  printf 'listen_ports = "%d-%d"\ntarget = "127.0.0.1:%d-%d"\n' "$LISTEN" "$last" "$TARGET" $((TARGET + RANGE - 1))
elif [ "$MODE" = failover ]; then
  printf 'listen_port = %d\ntargets = [\n' "$LISTEN"
  printf '  { host = "%s", port = %d, priority = %d },\n' 127.0.0.1 "$TARGET" 0 "$SPARE" "$TARGET" 1
  printf ']\n'
else
  printf 'listen_port = %d\ntarget = "127.0.0.1:%d"\n' "$LISTEN" "$TARGET"
fi
if [ "$protocol" = udp ]; then
  printf 'udp_max_flows = 16384\n'
elif [ "$MODE" = failover ]; then
  printf 'connect_timeout_ms = 5000\nidle_timeout_secs = 60\nmax_connections = 100000\n'
  printf '[rule.health]\nkind = "tcp"\nport = %d\njitter_percent = 0\n' "$CHECK"
  printf 'interval_secs = %d\nfall = %d\nrise = %d\ntimeout_ms = 1000\n' "$INTERVAL" "$FALL" "$RISE"
else
  printf 'connect_timeout_ms = 5000\nidle_timeout_secs = 60\nmax_connections = 100000\nhealth_check_interval_secs = 5\n'
fi
case $MODE in
sni) printf 'sni = ["openssl.example"]\n' ;;
list) printf '[rule.access]\nallow_file = "networks.txt"\n' ;;
# 10 Gbit/s, and more than any machine moves.
cap10) printf '[rule.rate_limit]\nbandwidth_in_bytes_per_sec = 1250000000\nbandwidth_out_bytes_per_sec = 1250000000\n' ;;
cap) printf '[rule.rate_limit]\nbandwidth_in_bytes_per_sec = 1000000000000\nbandwidth_out_bytes_per_sec = 1000000000000\n' ;;
esac
