#!/bin/sh
# Another build of the edge, to compare two in one run: PORTUNUS_BEFORE_BIN names it.
PORTUNUS_BIN=$PORTUNUS_BEFORE_BIN exec "$(dirname "$0")/portunus.sh"
