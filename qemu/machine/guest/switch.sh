#!/bin/sh
# The first process of the board with systemd, until it has found the disk: it lays what is to be installed into
# /opt/board there, sets the network up, and makes way for systemd.
# shellcheck source-path=SCRIPTDIR source=board.sh
. /lib/board.sh

bring_up

looks=1
until [ -b /dev/vda ]; do
  [ "$looks" -lt 500 ] || { failed "no disk appeared" && exit 1; }
  looks=$((looks + 1))
  usleep 20000
done
mount -t ext4 /dev/vda /system || { failed "the disk cannot be mounted" && exit 1; }
mkdir -p /system/opt/board
cp -a /payload/. /system/opt/board/
cp /bin/busybox /system/opt/board/busybox
cp /lib/board.sh /system/opt/board/board.sh
ln -s /opt/board/board-agent.service /system/etc/systemd/system/board-agent.service
mkdir -p /system/etc/systemd/system/multi-user.target.wants
ln -s /opt/board/board-agent.service /system/etc/systemd/system/multi-user.target.wants/board-agent.service
for place in proc sys dev; do
  mount --move "/$place" "/system/$place"
done
exec switch_root /system /lib/systemd/systemd
