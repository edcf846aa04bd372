#!/bin/sh
# In the booted Debian: installs the service as the documentation says, looks at it, kills it, stops it; each when the
# console says so.
cd /opt/board || exit
# shellcheck source-path=SCRIPTDIR source=board.sh
. ./board.sh
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
service=moltbot-edge.service

wget() { ./busybox wget "$@"; }

usleep() { ./busybox usleep "$@"; }

property() { systemctl show "$service" --property="$1" --value; }

journal() { journalctl --unit="$service" --output=short-monotonic --no-pager --no-hostname; }

# A step that has to end well.
step() {
  "$@" && return
  status=$?
  journal
  failed "this ended with $status: $*"
}

# When systemd had executed the file, which for a unit of Type=exec is when it became active.
begun() { say begun-us "$(property ActiveEnterTimestampMonotonic)"; }

# The service is looked at from the moment that it is asked for; what systemd thinks of it takes longer to ask.
served() {
  if ! until_served true; then
    journal
  fi
  begun
}

installed() {
  step install -m 755 moltbot-edge /usr/local/bin/moltbot-edge
  step install -D -m 644 moltbot-edge.sysusers /etc/sysusers.d/moltbot-edge.conf
  step install -m 644 moltbot-edge.service "/etc/systemd/system/$service"
  step systemd-sysusers
  step install -D -m 640 -g moltbot moltbot.yaml /etc/moltbot/moltbot.yaml
  step systemctl daemon-reload
  step systemd-analyze verify "$service"
  step systemctl enable --now --no-block "$service"
  served
  say enabled "$(systemctl is-enabled "$service")"
  say exposure "$(systemd-analyze security --offline=true --no-pager "/etc/systemd/system/$service" | tail -n1)"
}

looked_at() {
  for name in ActiveState SubState NRestarts MainPID MemoryCurrent MemoryPeak TasksCurrent; do
    say "$name" "$(property $name)"
  done
  say processes "$(processes | wc -l)"
  memory_of "$(property MainPID)"
  memory_of_the_board after
  say owner "$(stat -c '%U:%G %a' /var/lib/moltbot/models)"
}

processes() { cat "/sys/fs/cgroup$(property ControlGroup)/cgroup.procs"; }

engine() {
  main=$(property MainPID)
  for number in $(processes); do
    [ "$number" = "$main" ] || memory_of "$number"
  done
}

killed() {
  before=$(property MainPID)
  step kill -KILL "$before"
  looks=1
  while after=$(property MainPID) && { [ "$after" = "$before" ] || [ "$after" = 0 ]; }; do
    [ "$looks" -lt "$looks_at_most" ] || { failed "systemd did not start it again" && return; }
    looks=$((looks + 1))
  done
  served
}

stopped() {
  step systemctl stop "$service"
  for name in ActiveState Result ExecMainCode ExecMainStatus; do
    say "$name" "$(property $name)"
  done
  say failed-units "$(systemctl list-units --failed --no-legend --plain --no-pager | cut -d' ' -f1 | tr '\n' ' ')"
  journal
}

look_at_the_clock
say booted-s "$now"
about_the_board
say systemd "$(systemctl --version | head -n1)"
memory_of_the_board before
ready
while read -r word; do
  case $word in
    install) installed ;;
    look) looked_at ;;
    engine) engine ;;
    kill) killed ;;
    stop) stopped ;;
    off)
      systemctl --no-block poweroff
      exit
      ;;
    *) failed "no such word: $word" ;;
  esac
  ready
done
