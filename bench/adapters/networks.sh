#!/bin/sh
# Prints a list of 10,000 networks, one of which is the load generator's.
awk 'BEGIN {
  print "127.0.0.0/8"
  for (n = 1; n < 10000; n++) printf "10.%d.%d.0/24\n", int(n / 250), n % 250
}'
