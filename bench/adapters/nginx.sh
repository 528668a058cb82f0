#!/bin/sh
# The stream module as people run it; half-close is off by default and would break a workload here.
module=/usr/lib/nginx/modules/ngx_stream_module.so
command -v nginx >/dev/null && [ -e "$module" ] || exit 77
f=$BENCH_TMP/nginx.conf
{
  cat <<N
load_module $module;
daemon off; worker_processes $THREADS; worker_rlimit_nofile 20000;
pid $BENCH_TMP/nginx.pid; error_log $BENCH_TMP/nginx.err error;
events { worker_connections 19000; multi_accept on; }
stream {
  access_log off; proxy_half_close on; proxy_buffer_size 16k; proxy_timeout 60s;
N
  case $MODE in
  range)
    printf '  map $server_port $target {\n    default 0;\n'
    i=0
    while [ $i -lt "$RANGE" ]; do
      printf '    %d %d;\n' $((LISTEN + i)) $((TARGET + i))
      i=$((i + 1))
    done
    printf '  }\n  server { listen %s:%s-%s; proxy_pass 127.0.0.1:$target; }\n' "$HOST" "$LISTEN" $((LISTEN + RANGE - 1))
    ;;
  udp) printf '  server { listen %s:%s udp reuseport; proxy_pass 127.0.0.1:%s; }\n' "$HOST" "$LISTEN" "$TARGET" ;;
  *) printf '  server { listen %s:%s reuseport backlog=4096; proxy_pass 127.0.0.1:%s; }\n' "$HOST" "$LISTEN" "$TARGET" ;;
  esac
  echo '}'
} >"$f"
exec nginx -e "$BENCH_TMP/nginx.err" -c "$f"
