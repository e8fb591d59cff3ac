#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# expect.sh EXIT PATTERN COMMAND...: the command must end with this exit code, and standard output and error together must
# have a line that matches the extended regular expression.
want=$1
pattern=$2
shift 2
output=$("$@" 2>&1)
code=$?
printf '%s\n' "$output"
if [ "$code" -ne "$want" ]; then
  echo "expected exit code $want, found $code"
  exit 1
fi
if ! printf '%s\n' "$output" | grep -Eq -- "$pattern"; then
  echo "expected a line that matches: $pattern"
  exit 1
fi
