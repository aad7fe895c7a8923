#!/usr/bin/env bash
# documentdb.sh FOLDER MONGO_PORT PG_PORT: FerretDB 2 on PostgreSQL with DocumentDB, a MongoDB-compatible server with true
# concurrency, from Debian's packages and Go's modules. FOLDER is absolute. It needs root, for chroot, and installs nothing
# into the system. It prints the MONGODB_URL when it serves; FOLDER/*.pid are what to end.
set -euo pipefail
dir=$1 port=$2 pg=$3 root=$1/root
ferretdb=v2.7.0
mkdir -p "$dir"/{etc/preferences.d,etc/sources.list.d,state/lists/partial,cache/archives/partial,ferretdb.state,bin}
mirror=$(sed -n 's/^URIs: *//p' /etc/apt/sources.list.d/debian.sources | head -1)
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror forky main" >"$dir/etc/sources.list"
cat >"$dir/apt.conf" <<CONF
Dir::Etc "$dir/etc"; Dir::Etc::sourcelist "$dir/etc/sources.list"; Dir::Etc::sourceparts "$dir/etc/sources.list.d";
Dir::State "$dir/state"; Dir::State::status "/dev/null"; Dir::Cache "$dir/cache"; Dir::Etc::Parts "/etc/apt/apt.conf.d";
Acquire::Languages "none"; APT::Sandbox::User "root"; Acquire::Check-Valid-Until "false"; Acquire::Retries "3";
CONF
export APT_CONFIG=$dir/apt.conf
apt-get update -qq
apt-get install -y -qq --download-only --no-install-recommends postgresql-18-documentdb dash >/dev/null
# Unpacked beside the system: maintainer scripts do not run, so what they would do is done below.
mkdir -p "$root"/usr/{bin,sbin,lib,lib64} "$root"/{tmp,dev/shm,etc,data}
for name in bin sbin lib lib64; do ln -sfn "usr/$name" "$root/$name"; done
for deb in "$dir"/cache/archives/*.deb; do dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$root" --keep-directory-symlink --no-same-owner; done
[ -e "$root/bin/sh" ] || ln -s dash "$root/bin/sh"
ln -sfn postgis-3.control "$root/usr/share/postgresql/18/extension/postgis.control"
printf 'root:x:0:0::/:/bin/sh\npostgres:x:65001:65001::/data:/bin/sh\n' >"$root/etc/passwd"
printf 'root:x:0:\npostgres:x:65001:\n' >"$root/etc/group"
# DocumentDB and pg_cron connect to "localhost".
printf '127.0.0.1 localhost\n' >"$root/etc/hosts"
printf 'passwd: files\ngroup: files\nhosts: files\n' >"$root/etc/nsswitch.conf"
[ -e "$root/dev/null" ] || { mknod -m 666 "$root/dev/null" c 1 3; mknod -m 666 "$root/dev/zero" c 1 5; mknod -m 444 "$root/dev/urandom" c 1 9; }
chmod 1777 "$root/tmp" "$root/dev/shm"; chown 65001:65001 "$root/data"
chroot "$root" /usr/sbin/ldconfig
as_postgres() { chroot --userspec=65001:65001 "$root" "$@"; }
bin=/usr/lib/postgresql/18/bin
as_postgres $bin/initdb -D /data/pg -U postgres --locale=C.UTF-8 --encoding=UTF8 --auth=trust >"$dir/initdb.log"
cat >>"$root/data/pg/postgresql.conf" <<CONF
listen_addresses = '127.0.0.1'
port = $pg
unix_socket_directories = '/tmp'
shared_preload_libraries = 'pg_cron,pg_documentdb_core,pg_documentdb'
cron.database_name = 'postgres'
max_connections = 300
timezone = 'UTC'
log_timezone = 'UTC'
CONF
# What starts PostgreSQL, again after a crash too: its children may hold the shared memory for a moment.
cat >"$dir/start-postgres" <<START
#!/usr/bin/env bash
for _ in \$(seq 50); do
  chroot --userspec=65001:65001 "$root" $bin/postgres -D /data/pg >>"$dir/postgres.log" 2>&1 & echo \$! >"$dir/postgres.pid"
  for _ in \$(seq 50); do
    chroot --userspec=65001:65001 "$root" $bin/pg_isready -q -h 127.0.0.1 -p "$pg" && exit 0
    kill -0 "\$(cat "$dir/postgres.pid")" 2>/dev/null || break
    sleep 0.2
  done
  sleep 0.2
done
exit 1
START
chmod +x "$dir/start-postgres"
"$dir/start-postgres"
as_postgres $bin/psql -qX -h 127.0.0.1 -p "$pg" -U postgres -c 'CREATE EXTENSION IF NOT EXISTS documentdb CASCADE' 2>>"$dir/postgres.log"
unset APT_CONFIG
GOBIN=$dir/bin go install "github.com/FerretDB/FerretDB/v2/cmd/ferretdb@$ferretdb"
"$dir/bin/ferretdb" --listen-addr=127.0.0.1:"$port" --debug-addr=- --no-auth --telemetry=disable --log-level=error --state-dir="$dir/ferretdb.state" \
  --postgresql-url="postgres://postgres@127.0.0.1:$pg/postgres?sslmode=disable" >"$dir/ferretdb.log" 2>&1 & echo $! >"$dir/ferretdb.pid"
for _ in $(seq 100); do (exec 3<>/dev/tcp/127.0.0.1/"$port") 2>/dev/null && break; sleep 0.2; done
echo "MONGODB_URL=mongodb://127.0.0.1:$port"
