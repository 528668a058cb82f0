#!/bin/sh
# HAPROXY_EXTRA: more lines for `defaults`; HAPROXY_GLOBAL: more lines for `global`.
case $MODE in udp | cap*) exit 77 ;; esac
command -v haproxy >/dev/null || exit 77
f=$BENCH_TMP/haproxy.cfg
# It refuses to start where maxconn does not fit the limit of open files: two sockets for each connection, pipes where
# it splices, and the listeners.
n=$(ulimit -n)
[ "$n" -gt 200000 ] && n=200000
[ "$MODE" = range ] && n=$((n - RANGE))
maxconn=$(((n - 200) * 10 / ${HAPROXY_FD10:-21}))
{
  printf 'global\n  nbthread %s\n  maxconn %s\n' "$THREADS" "$maxconn"
  printf '%b\n' "$HAPROXY_GLOBAL"
  printf 'defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n'
  printf '%b\n' "$HAPROXY_EXTRA"
  if [ "$MODE" = range ]; then
    # A server whose port has a sign takes the client's port and adds it.
    printf 'listen range\n  bind %s:%s-%s\n  server target 127.0.0.1:%+d\n' \
      "$HOST" "$LISTEN" $((LISTEN + RANGE - 1)) $((TARGET - LISTEN))
  elif [ "$MODE" = failover ]; then
    check="check port $CHECK inter ${INTERVAL}s fall $FALL rise $RISE"
    printf 'listen two\n  bind %s:%s\n  option redispatch\n' "$HOST" "$LISTEN"
    printf '  server preferred 127.0.0.1:%s %s\n  server spare %s:%s %s backup\n' \
      "$TARGET" "$check" "$SPARE" "$TARGET" "$check"
  elif [ "$MODE" = sni ]; then
    printf 'frontend one\n  bind %s:%s\n  tcp-request inspect-delay 5s\n' "$HOST" "$LISTEN"
    printf '  tcp-request content accept if { req.ssl_hello_type 1 }\n'
    printf '  use_backend named if { req.ssl_sni -i openssl.example }\n'
    printf 'backend named\n  server target 127.0.0.1:%s\n' "$TARGET"
  elif [ "$MODE" = list ]; then
    "$(dirname "$0")/networks.sh" >"$BENCH_TMP/networks.txt"
    printf 'listen one\n  bind %s:%s\n  acl listed src -f %s\n' "$HOST" "$LISTEN" "$BENCH_TMP/networks.txt"
    printf '  tcp-request connection reject unless listed\n  server target 127.0.0.1:%s\n' "$TARGET"
  else
    printf 'listen one\n  bind %s:%s\n  server target 127.0.0.1:%s\n' "$HOST" "$LISTEN" "$TARGET"
  fi
} >"$f"
exec haproxy -db -f "$f"
