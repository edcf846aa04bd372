#!/bin/sh
# The first process of a board that has no operating system: a kernel, busybox and the file. It starts the gateway,
# waits for it, and then does what the console tells it.
# shellcheck source-path=SCRIPTDIR source=board.sh
. /lib/board.sh

bring_up

look_at_the_clock
say booted-s "$now"
about_the_board
memory_of_the_board before

alive() { [ -d "/proc/$gateway" ] && ! grep -q '^State:.Z' "/proc/$gateway/status"; }

look_at_the_clock
say begun-s "$now"
/moltbot-edge serve --config /etc/moltbot/moltbot.yaml &
gateway=$!
if until_served alive; then
  processor_time_of "$gateway"
  memory_of "$gateway"
  memory_of_the_board after
fi
ready

while read -r word; do
  case $word in
    memory)
      memory_of "$gateway"
      memory_of_the_board after
      ;;
    stop)
      kill -TERM "$gateway"
      wait "$gateway"
      say status "$?"
      ;;
    off) poweroff -f ;;
    *) failed "no such word: $word" ;;
  esac
  ready
done
# Its console is closed.
poweroff -f
