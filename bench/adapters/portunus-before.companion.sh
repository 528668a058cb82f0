#!/bin/sh
# The server that `portunus-before.sh` keeps a session with; it runs beside what is measured.
PORTUNUS_BIN=$PORTUNUS_BEFORE_BIN exec "$(dirname "$0")/portunus.companion.sh"
