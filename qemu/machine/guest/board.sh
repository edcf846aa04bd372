# What both boards' scripts share: what they say, in the form that console.py reads. For busybox's shell and dash.
# shellcheck shell=sh

# shellcheck disable=SC2034 # read by those who source this
health=http://127.0.0.1:8080/health
looks_at_most=1500

say() { echo "BOARD $1: $2"; }

ready() { echo "BOARD ready"; }

failed() { say failed "$1"; }

# What the first process does first: file systems, modules, the network.
bring_up() {
  mount -t proc proc /proc
  mount -t sysfs sys /sys
  mount -t devtmpfs dev /dev
  for module in /lib/modules/*.ko; do
    insmod "$module" || say note "no module $module"
  done
  ip link set lo up
  ip link set eth0 up
  ip addr add "$(cat /etc/address)" dev eth0
  ip route add default via "$(cat /etc/gateway)"
}

# Seconds since boot, to the hundredth, into $now.
look_at_the_clock() { read -r now _ </proc/uptime; }

about_the_board() {
  say kernel "$(uname -r)"
  # shellcheck disable=SC2046 # into words
  set -- $(grep -m1 KernelPageSize /proc/self/smaps)
  say page-kb "$2"
  # shellcheck disable=SC2046
  set -- $(grep -m1 'CPU part' /proc/cpuinfo)
  say cpu-part "$4"
}

# The machine's memory; $1 says when.
memory_of_the_board() {
  while read -r name value _; do
    case $name in
      MemTotal:) say memory-kb "$value" ;;
      MemAvailable:) say "available-$1-kb" "$value" ;;
    esac
  done </proc/meminfo
}

# A process's memory and rights; $1 is its number.
memory_of() {
  while read -r name value _; do
    case $name in
      VmRSS: | VmHWM: | RssAnon: | Threads: | Seccomp: | NoNewPrivs: | CapEff: | CapBnd: | Uid:)
        say "${name%:}" "$value"
        ;;
    esac
  done <"/proc/$1/status"
}

# The processor time that a process has had, in hundredths of a second; $1 is its number.
processor_time_of() {
  # shellcheck disable=SC2046 # into words
  set -- $(cat "/proc/$1/stat")
  say cpu-cs "$((${14} + ${15}))"
}

# Until /health answers 200, or $1 (a command) finds that nothing will come. Says when that was and how often it looked.
until_served() {
  looks=1
  until wget -q -T 5 -O /dev/null "$health" 2>/dev/null; do
    if ! "$1"; then
      failed "the gateway ended before it served"
      return 1
    fi
    if [ "$looks" -ge "$looks_at_most" ]; then
      failed "no 200 on /health after $looks looks"
      return 1
    fi
    looks=$((looks + 1))
    usleep 50000 # the gateway needs the core
  done
  look_at_the_clock
  say served-s "$now"
  say looks "$looks"
}
