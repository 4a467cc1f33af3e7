#!/usr/bin/env bash
# Ringside's demo: a database of real data, a writer, two replicas, a tour. See usage() below.
#
# All that it makes lies under build/ (the data, logs, settings), in /dev/shm (the ring, removed at the end) and, for
# sockets whose path would be too long, in one folder under /tmp (removed too). No system service is touched. Everything
# it starts it stops, by process id, also after an error: traffic first, then replicas, writer, database.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
demo=${RINGSIDE_DEMO_DIR:-$root/build/demo}
# Where the programs are. Set to another build's folder, that one is used as it stands: nothing is built.
build=${RINGSIDE_DEMO_BUILD:-$root/build/release}
replicas=2
ready_seconds=180

usage() {
  cat <<USAGE
Usage: deploy/demo.sh [--check] [--mysql URL] [--seeded N] [--no-live]

Builds Ringside (release), starts a private MariaDB with Debian's package index as a shop, a writer and two
replicas, shows a tour of real requests, and stays until Ctrl-C.

  --check       exit after the tour: 0 when every answer was right, 1 otherwise
  --mysql URL   use this server instead of a private one:
                  mysql://user:password@host:3306/database
                  mysql://user:password@localhost/database?socket=/run/mysqld/mysqld.sock
                The database must be empty or hold the demo's data, and stays as it is afterwards.
  --seeded N    N invented products instead of Debian's index (used by itself where there is no index)
  --no-live     no live traffic after the tour
  --help        this text

The first start takes a few minutes for the build; the next ones reuse build and data.
USAGE
}

check=false mysql_url='' seeded=${RINGSIDE_DEMO_SEEDED:-} live=true
while (($# > 0)); do
  case $1 in
    --check) check=true ;;
    --no-live) live=false ;;
    --mysql | --seeded)
      [[ -n ${2:-} ]] || { echo "demo.sh: $1 needs a value; see --help" >&2; exit 2; }
      if [[ $1 == --mysql ]]; then mysql_url=$2; else seeded=$2; fi
      shift
      ;;
    --help | -h) usage; exit 0 ;;
    *) echo "demo.sh: unknown argument '$1'; see --help" >&2; exit 2 ;;
  esac
  shift
done
if [[ -n $seeded && ! $seeded =~ ^[1-9][0-9]{0,6}$ ]]; then
  echo "demo.sh: --seeded wants a number of products from 1 to 9999999, not '$seeded'" >&2
  exit 2
fi

step() { printf '\n== %s\n' "$*"; }
fail() {
  printf '\ndemo.sh: %s\n' "$*" >&2
  exit 1
}

# --- processes ------------------------------------------------------------------------------------------------------

names=() pids=()  # in the order of starting
running() { kill -0 "$1" 2>/dev/null; }

# start NAME COMMAND…: in the background, output to log/NAME.log, the pid kept for stopping and for the next start.
# setsid: Ctrl-C goes to this script alone, which then stops the programs in their order.
start() {
  local name=$1
  shift
  setsid "$@" >"$demo/log/$name.log" 2>&1 </dev/null 9>&- &
  names+=("$name") pids+=($!)
  echo "$!" >"$demo/pid/$name"
}

# stop NAME PID: asks, waits up to 30 s, then kills.
stop() {
  local name=$1 pid=$2 deadline=$((SECONDS + 30))
  kill -TERM "$pid" 2>/dev/null || true
  while running "$pid" && ((SECONDS < deadline)); do sleep 0.05; done
  if running "$pid"; then
    echo "demo.sh: $name (process $pid) did not stop within 30 s and is killed" >&2
    kill -KILL "$pid" 2>/dev/null || true
  fi
  rm -f "$demo/pid/$name"
}

stop_all() {
  local status=$? i
  trap - EXIT
  trap '' INT TERM  # a second Ctrl-C must not leave half of it running
  ((${#pids[@]} == 0)) || echo
  for ((i = ${#pids[@]} - 1; i >= 0; i--)); do
    printf 'stopping %s\n' "${names[i]}"
    stop "${names[i]}" "${pids[i]}"
    wait "${pids[i]}" 2>/dev/null || true
  done
  if [[ -n ${ring_path:-} ]]; then rm -rf -- "$ring_path"; fi
  if [[ -n ${socket_folder:-} && $socket_folder == /tmp/* ]]; then rm -rf -- "$socket_folder"; fi
  exit "$status"
}

# A demo that was killed with -9 leaves its programs behind: they hold the data directory and the ports.
stop_leftovers() {
  local file pid
  for file in "$demo"/pid/{live,replica*,writer,mariadbd}; do
    [[ -f $file ]] || continue
    pid=$(<"$file")
    # Only a process that has this demo's folder among its arguments is ours; the number may be another's by now.
    if [[ $pid =~ ^[0-9]+$ ]] && tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -qF -- "$demo"; then
      echo "stopping ${file##*/} of an earlier demo"
      stop "${file##*/}" "$pid"
    fi
    rm -f "$file"
  done
}

# await NAME PID PORT: until /readyz says 200.
await() {
  local why
  if ! why=$(tool tour.py wait --port "$3" --pid "$2" --seconds "$ready_seconds" 2>&1); then
    tail -n 25 "$demo/log/$1.log" >&2 || true
    fail "$1 is not ready: $why. The end of its log ($demo/log/$1.log) stands above"
  fi
}

tool() { python3 "$root/deploy/demo/$1" "${@:2}"; }

# --- steps ----------------------------------------------------------------------------------------------------------

build_programs() {
  [[ $build == "$root/build/release" ]] || return 0
  step "Building (release)"
  (cd "$root" && cmake --preset release >"$demo/log/configure.log" 2>&1) ||
    { tail -n 25 "$demo/log/configure.log" >&2; fail "cmake could not configure the build"; }
  cmake --build "$build" --target ringside-writer ringside-replica || fail "the build failed"
}

# Sockets: a unix socket's path has at most 107 bytes.
choose_socket_folder() {
  socket_folder=$demo/run
  if ((${#socket_folder} > 80)); then socket_folder=$(mktemp -d /tmp/ringside-demo.XXXXXX); fi
  mkdir -p "$socket_folder"
  rm -f "$socket_folder"/*.sock
}

# The ring goes where shared memory is; containers often have 64 MiB of it, and then a file on disk must do.
choose_ring() {
  ring_name=ringside-demo-$(printf '%s' "$demo" | cksum | cut -d' ' -f1)
  ring_directory=/dev/shm
  local free_mib
  free_mib=$(df --output=avail -m /dev/shm 2>/dev/null | tail -n 1 | tr -d ' ' || true)
  if ((${free_mib:-0} < 1024)); then
    ring_directory=$demo/ring
    mkdir -p "$ring_directory"
    echo "note: /dev/shm has ${free_mib:-0} MiB free, the ring wants 1024: using $ring_directory (slower start)"
    free_mib=$(df --output=avail -m "$ring_directory" | tail -n 1 | tr -d ' ')
  fi
  ring_mib=$((free_mib > 4608 ? 4096 : free_mib - free_mib / 8))
  ring_path=$ring_directory/$ring_name
  rm -rf -- "$ring_path"
}

start_database() {
  step "Starting a private MariaDB ($demo/mysql)"
  local user_option=() data=$demo/mysql
  if [[ $(id -u) == 0 ]]; then user_option=(--user=root); fi
  if [[ ! -f $data/ringside-data-version || $(<"$data/ringside-data-version") != 1 ]]; then
    rm -rf -- "$data"
    # The administrator is the system's user who runs this, through the socket only: no password to be guessed.
    mariadb-install-db --no-defaults "${user_option[@]}" --datadir="$data" --skip-test-db --skip-name-resolve --force \
      --auth-root-authentication-method=socket --auth-root-socket-user="$(id -un)" >"$demo/log/install-db.log" 2>&1 ||
      { tail -n 25 "$demo/log/install-db.log" >&2; fail "mariadb-install-db failed"; }
    echo 1 >"$data/ringside-data-version"
  fi
  start mariadbd mariadbd --no-defaults "${user_option[@]}" --datadir="$data" --socket="$socket_folder/mariadb.sock" \
    --bind-address=127.0.0.1 --port="$database_port" --skip-name-resolve --server-id=1 \
    --log-bin=binlog --binlog-format=ROW --binlog-row-image=FULL --binlog-row-metadata=FULL --gtid-strict-mode=ON \
    --log-slave-updates=ON --sync-binlog=1 --innodb-flush-log-at-trx-commit=1 --expire-logs-days=2 \
    --innodb-buffer-pool-size=512M --innodb-log-file-size=256M --character-set-server=utf8mb4 \
    --collation-server=utf8mb4_unicode_ci
  local pid=${pids[-1]} deadline=$((SECONDS + 60))
  until admin_sql -e 'SELECT 1' >/dev/null 2>&1; do
    if ! running "$pid" || ((SECONDS >= deadline)); then
      tail -n 25 "$demo/log/mariadbd.log" >&2
      fail "MariaDB did not start; the end of its log ($demo/log/mariadbd.log) stands above"
    fi
    sleep 0.05
  done
  create_user
}

admin_sql() { mariadb --no-defaults --socket="$socket_folder/mariadb.sock" --user="$(id -un)" --batch "$@"; }

# What Ringside needs, and nothing more: docs/operating.md explains each privilege.
create_user() {
  if [[ ! -s $demo/mysql.password ]]; then
    (umask 077 && python3 -c 'import secrets; print(secrets.token_urlsafe(24))' >"$demo/mysql.password")
  fi
  local password host
  password=$(<"$demo/mysql.password")
  for host in localhost 127.0.0.1; do
    cat <<SQL
CREATE USER IF NOT EXISTS 'ringside'@'$host';
ALTER USER 'ringside'@'$host' IDENTIFIED BY '$password';
GRANT REPLICATION SLAVE, BINLOG MONITOR, SLAVE MONITOR ON *.* TO 'ringside'@'$host';
GRANT SELECT, INSERT, UPDATE, DELETE ON \`shop\`.* TO 'ringside'@'$host';
GRANT ALL ON \`ringside\`.* TO 'ringside'@'$host';
SQL
  done | admin_sql
}

write_settings() {
  local source=(--mysql "$mysql_url")
  if [[ -z $mysql_url ]]; then
    source=(--database shop --socket "$socket_folder/mariadb.sock" --user ringside --password-file "$demo/mysql.password")
  fi
  database=$(tool settings.py --out "$demo" "${source[@]}" --ring-name "$ring_name" --ring-directory "$ring_directory" \
    --ring-mib "$ring_mib" --writer-port "$writer_port" --replica-port "$replica_port" \
    --replica-socket "$socket_folder/replica.{index}.sock" --admin-port "$admin_port") || exit 1
}

load_data() {
  step "Loading the shop"
  local access=(--defaults-file "$demo/client.cnf")
  # In the private server the demo's own administrator makes the tables: Ringside's user may not.
  if [[ -z $mysql_url ]]; then access=(--socket "$socket_folder/mariadb.sock" --user "$(id -un)" --own); fi
  tool load.py "${access[@]}" --database "$database" --work "$demo/work" ${seeded:+--seeded "$seeded"} ||
    fail "the data could not be loaded"
}

start_ringside() {
  step "Starting the writer and $replicas replicas"
  local began index
  began=$(date +%s%N)
  start writer "$build/writer/ringside-writer" --config "$demo/ringside.toml"
  await writer "${pids[-1]}" "$writer_port"
  printf '  writer ready after %d ms: every row is in the ring\n' $((($(date +%s%N) - began) / 1000000))
  began=$(date +%s%N)
  for ((index = 0; index < replicas; index++)); do
    start "replica$index" "$build/replica/ringside-replica" --config "$demo/ringside.toml" --index "$index"
  done
  for ((index = 0; index < replicas; index++)); do
    await "replica$index" "${pids[index - replicas]}" $((admin_port + index))
  done
  printf '  %d replicas ready after %d ms\n' "$replicas" $((($(date +%s%N) - began) / 1000000))
}

tour_arguments() {
  printf '%s\n' --defaults-file "$demo/client.cnf" --database "$database" --writer-port "$writer_port" \
    --replica-port "$replica_port" --replica-socket "$socket_folder/replica.{index}.sock" --replicas "$replicas"
}

show_tour() {
  step "The tour"
  mapfile -t arguments < <(tour_arguments)
  tool tour.py tour "${arguments[@]}" || exit 1
}

live_arguments() {
  printf '%s\n' --defaults-file "$demo/client.cnf" --database "$database" --work "$demo/work"
  [[ -z $seeded ]] || echo --seeded
}

# With --check a bounded piece of the live traffic is part of the tour.
check_live() {
  printf '\n7. Live traffic, and both replicas behind it\n'
  mapfile -t arguments < <(live_arguments)
  tool live.py "${arguments[@]}" --transactions 100 --rate 500 | sed 's/^/   /' || fail "the live traffic failed"
  mapfile -t arguments < <(tour_arguments)
  tool tour.py caught-up "${arguments[@]}" || fail "a replica did not catch up with the live traffic"
}

print_urls() {
  cat <<URLS

== Ringside is up. Ctrl-C stops all of it.

  replicas    http://127.0.0.1:$replica_port/          (both; the kernel deals the connections out)
  replica 0   http://127.0.0.1:$admin_port/status     /metrics /healthz /readyz; socket $socket_folder/replica.0.sock
  replica 1   http://127.0.0.1:$((admin_port + 1))/status     the same; socket $socket_folder/replica.1.sock
  writer      http://127.0.0.1:$writer_port/status     commands: POST, PUT, PATCH, DELETE /v1/{table}/{key}
  SQL         mariadb --defaults-file=$demo/client.cnf $database
  settings    $demo/ringside.toml
  logs        $demo/log/
URLS
}

main() {
  "$root/deploy/install_packages.sh" || fail "packages are missing (see above)"
  mkdir -p "$demo/log" "$demo/pid" "$demo/work"
  exec 9>"$demo/lock"
  flock --nonblock 9 || fail "another demo runs in $demo; stop it first, or set RINGSIDE_DEMO_DIR to another folder"
  trap stop_all EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP
  build_programs
  stop_leftovers
  choose_socket_folder
  choose_ring
  read -r writer_port replica_port admin_port database_port < <(tool free_ports.py 7070 8080 "9100x$replicas" 33060)
  if [[ -z $mysql_url ]]; then start_database; fi
  write_settings
  load_data
  start_ringside
  show_tour
  if $check; then
    if $live; then check_live; fi
    printf '\nThe tour is over and every answer was right.\n'
    exit 0
  fi
  if $live; then
    mapfile -t arguments < <(live_arguments)
    start live python3 "$root/deploy/demo/live.py" "${arguments[@]}"
  fi
  trap 'exit 0' INT TERM HUP  # from here on Ctrl-C is how it is meant to end
  print_urls
  # Until Ctrl-C, or until one of them ends by itself; the end of the live traffic alone is no reason to go.
  local ended i
  while true; do
    ended=0
    wait -n "${pids[@]}" || ended=$?
    for i in "${!pids[@]}"; do
      running "${pids[i]}" && continue
      if [[ ${names[i]} == live ]]; then
        echo "the live traffic has ended; see $demo/log/live.log"
        unset 'pids[i]' 'names[i]'
        pids=("${pids[@]}") names=("${names[@]}")
        continue 2
      fi
      tail -n 25 "$demo/log/${names[i]}.log" >&2
      fail "${names[i]} ended by itself with exit code $ended; the end of its log stands above"
    done
  done
}

main
