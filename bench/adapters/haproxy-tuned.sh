#!/bin/sh
# Forced splicing through pipes of 1 MiB and buffers of 64 KiB: what an operator can get out of haproxy for bulk.
# `splice-auto` never splices under these loads in 2.6.
HAPROXY_FD10=32 \
  HAPROXY_EXTRA='  option splice-request\n  option splice-response' \
  HAPROXY_GLOBAL='  tune.bufsize 65536\n  tune.pipesize 1048576' \
  exec "$(dirname "$0")/haproxy.sh"
