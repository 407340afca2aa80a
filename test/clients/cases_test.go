//go:build linux

package clients

// state is what the table in README says of a case, and the test checks.
type state string

const (
	works state = "yes"
	// prompted: the client cannot offer a certificate, so the person signs in by the code of its prompt.
	prompted state = "yes, by a code at its prompt"
)

// client is one row of the table.
type client struct {
	name   string
	does   string // what the script does, for the table
	state  state
	needs  string // a file that the machine must have, else the case cannot be tried
	script string
	// prompt is the script for Lanyard of a case that is prompted. Once the file $D/signed is there, the person has
	// signed in by the code that the script's output has shown.
	prompt string
}

const fuse = "/dev/fuse"

var clients = []client{
	{
		name: "OpenSSH ssh", does: "exit status, bytes both ways, a terminal, `-N` with `-L`", state: works,
		script: `
rc=0; ssh $T 'echo out; echo err >&2; exit 7' >out 2>err || rc=$?
[ $rc = 7 ]; [ "$(cat out)" = out ]; grep -qx err err
ssh $T cat <big >back; cmp big back
ssh -tt $T 'test -t 0 && test -t 1 && echo terminal' </dev/null 2>/dev/null | grep -q terminal
ssh $T "printf through >$R/page; cd $R; exec python3 -m http.server --bind 127.0.0.1 18080" >/dev/null 2>&1 & web=$!
ssh -N -L 18081:127.0.0.1:18080 $T & tunnel=$!
trap 'kill $web $tunnel 2>/dev/null || true; wait' EXIT
got=; for i in $(seq 900); do got=$(curl -sf http://127.0.0.1:18081/page) && break; sleep 0.1; done
[ "$got" = through ]
ssh $T 'pkill -f "bind 127.0.0.1 18080"'; wait $web || true # the next one needs the ports`,
	},
	{
		name: "OpenSSH ssh, ControlMaster", does: "8 sessions at a time over one connection", state: works,
		script: `
ssh -MNf -o ControlPath="$D/mux" $T
trap 'ssh -O exit -o ControlPath="$D/mux" $T 2>/dev/null || true' EXIT
pids=; for i in $(seq 8); do ssh -o ControlPath="$D/mux" $T "cat; exit $i" <big >back$i & pids="$pids $!"; done
i=0; for p in $pids; do i=$((i+1)); rc=0; wait $p || rc=$?; [ $rc = $i ]; cmp big back$i; done`,
	},
	{
		name: "OpenSSH ssh -J", does: "through the machine to an sshd behind it", state: works,
		script: `
ssh -J $T deploy@behind cat <big >back; cmp big back
rc=0; ssh -J $T deploy@behind 'exit 9' || rc=$?; [ $rc = 9 ]`,
	},
	{
		name: "OpenSSH ssh -J", does: "to the machine from another one of the network", state: works,
		script: `
ssh -J ann@jump $T cat <big >back; cmp big back
rc=0; ssh -J ann@jump $T 'exit 9' || rc=$?; [ $rc = 9 ]`,
	},
	{
		name: "OpenSSH scp", does: "a file and a folder, up and down", state: works,
		script: `
scp -q big $T:$R/; scp -q $T:$R/big back; cmp big back
mkdir -p tree/sub; cp big tree/sub/; chmod 640 tree/sub/big; touch -d 2001-02-03 tree/sub/big
scp -qpr tree $T:$R/; scp -qpr $T:$R/tree again; diff -r tree again
[ "$(stat -c '%a %Y' again/sub/big)" = "$(stat -c '%a %Y' tree/sub/big)" ]
rc=0; scp -q $T:$R/nothing . 2>/dev/null || rc=$?; [ $rc = 1 ]`,
	},
	{
		name: "OpenSSH scp -O", does: "the old protocol, by the scp on the machine", state: works,
		script: `
scp -qO big $T:$R/; scp -qO $T:$R/big back; cmp big back
mkdir tree; cp big tree/; scp -qOr tree $T:$R/; scp -qOr $T:$R/tree again; diff -r tree again`,
	},
	{
		name: "OpenSSH sftp", does: "put, get, reput, reget, rename, links, chmod, df", state: works,
		script: `
mkdir up down; head -c 1000000 big >up/part; cp up/part down/soft
printf '%s\n' "cd $R" "lcd up" "put part" "lcd .." "reput big part" "mkdir d" "rename part d/moved" "ln d/moved hard" "ln -s d/moved soft" \
  "chmod 600 d/moved" "ls -la d" "df -h ." "get hard got" "lcd down" "reget soft" >batch
sftp -qb batch $T >out; grep -q moved out; grep -q '%' out; cmp big got; cmp big down/soft
printf '%s\n' "cd $R" "rm hard" "rm soft" "rm d/moved" "rmdir d" >batch; sftp -qb batch $T >/dev/null; [ -z "$(ssh $T ls $R)" ]
rc=0; echo "get $R/nothing" | sftp -qb - $T >/dev/null 2>&1 || rc=$?; [ $rc = 1 ]`,
	},
	{
		name: "OpenSSH sftp", does: "modes: by the umask, `put -p`, mkdir", state: works,
		script: `
for f in 666 777 604 600; do echo $f >f$f; chmod $f f$f; touch -d 2001-02-03 f$f; done
printf '%s\n' "cd $R" "put f666" "put f777" "put f604" "put f600" "put -p f777 kept" "put -p f604 shut" "mkdir d" "put f600 f777" >batch
sftp -qb batch $T >/dev/null
got=$(ssh $T "cd $R; stat -c '%n %a' *; stat -c %Y kept shut; umask" | tr '\n' ' ')
want="d 755 f600 600 f604 604 f666 644 f777 755 kept 777 shut 604 $(stat -c %Y f777) $(stat -c %Y f604) 0022 "
[ "$got" = "$want" ] || { echo "$got"; echo "want $want"; exit 1; }`,
	},
	{
		name: "ssh-copy-id", does: "says that no key is needed, and installs none", state: works,
		script: `
before=$(ssh $T 'cat ~/.ssh/authorized_keys | md5sum')
ssh-keygen -q -t ed25519 -N '' -f new; rc=0; ssh-copy-id -i new.pub $T >out 2>&1 </dev/null || rc=$?
[ $rc = 0 ] || { cat out; exit 1; }
grep -q 'WARNING: All keys were skipped because they already exist on the remote system' out || { cat out; exit 1; }
if grep -q 'Number of key' out; then cat out; exit 1; fi
[ "$(ssh $T 'cat ~/.ssh/authorized_keys | md5sum')" = "$before" ]`,
	},
	{
		name: "rsync", does: "a tree up, changed, down, with --delete", state: works,
		script: `
mkdir -p tree/a tree/b; cp big tree/a; for i in $(seq 50); do echo $i >tree/b/$i; done
rsync -a tree/ $T:$R/tree/; echo more >>tree/a/big; rm tree/b/7
rsync -a --delete tree/ $T:$R/tree/; rsync -a $T:$R/tree/ again/; diff -r tree again
rc=0; rsync -a $T:$R/nothing . 2>/dev/null || rc=$?; [ $rc = 23 ]`,
	},
	{
		name: "git", does: "clone, push, fetch", state: works,
		script: `
export GIT_CONFIG_GLOBAL="$D/config" GIT_CONFIG_NOSYSTEM=1
git config --global user.email a@example.com; git config --global user.name A; git config --global init.defaultBranch main
ssh $T "git -c init.defaultBranch=main init -q --bare $R/repo.git"
git clone -q $T:$R/repo.git one 2>/dev/null; cd one; cp ../big .; git add big; git commit -qm one; git push -q origin HEAD:main; cd ..
git clone -q $T:$R/repo.git two; cmp big two/big
(cd two; echo x >x; git add x; git commit -qm two; git push -q origin HEAD:main); cd one; git fetch -q; [ "$(git log -1 --format=%s origin/main)" = two ]`,
	},
	{
		name: "sshfs", does: "read, write, rename, list in a mounted folder", state: works, needs: fuse,
		script: `
mkdir mnt; sshfs $T:$R mnt; trap 'fusermount3 -u "$D/mnt" || fusermount3 -u -z "$D/mnt"' EXIT
cp big mnt/big; cmp big mnt/big; mkdir mnt/d; mv mnt/big mnt/d/moved; echo line >>mnt/d/moved
[ "$(stat -c %s mnt/d/moved)" = 5242885 ]; [ "$(ls mnt/d)" = moved ]; ln -s moved mnt/d/link; [ "$(readlink mnt/d/link)" = moved ]
[ "$(ssh $T stat -c %s $R/d/moved)" = 5242885 ]`,
	},
	{
		name: "Ansible", does: "ping on 20 forks, copy", state: works,
		script: `
for i in $(seq 20); do echo "h$i ansible_host=$HOST ansible_user=deploy n=$i"; done >hosts
export ANSIBLE_LOCAL_TEMP="$D/tmp" ANSIBLE_SSH_ARGS='-o ControlPath=none' ANSIBLE_PYTHON_INTERPRETER=/usr/bin/python3 ANSIBLE_TIMEOUT=60
ANSIBLE_PIPELINING=1 ansible all -i hosts -f 20 -m ping >out 2>&1 || { tail -30 out; exit 1; }; [ "$(grep -c '"ping": "pong"' out)" = 20 ]
ansible h1,h2 -i hosts -f 20 -m copy -a "src=$D/big dest=$R/copy-{{ n }}" >out 2>&1 || { tail -30 out; exit 1; }
ssh $T cat $R/copy-2 | cmp - big`,
	},
	{
		name: "paramiko", does: "exec, exit status, SFTP, with key and certificate files", state: works,
		script: `
cat >try.py <<'EOF'
import os, paramiko
key = paramiko.Ed25519Key.from_private_key_file(os.environ["KEY"])
if os.environ["CERT"]:
    key.load_certificate(os.environ["CERT"])
c = paramiko.SSHClient()
c.set_missing_host_key_policy(paramiko.AutoAddPolicy())
c.connect(os.environ["ADDR"], int(os.environ["PORT"]), "deploy", pkey=key, look_for_keys=False, allow_agent=False,
          banner_timeout=90, auth_timeout=90)
i, o, e = c.exec_command("cat; echo err >&2; exit 5")
i.write(b"text"); i.channel.shutdown_write()
assert o.read() == b"text" and e.read() == b"err\n" and o.channel.recv_exit_status() == 5
s, r = c.open_sftp(), os.environ["R"]
s.put("big", r + "/big")
s.get(r + "/big", "back")
assert s.stat(r + "/big").st_size == 5242880 and s.listdir(r) == ["big"] and s.normalize(".") == "/home/deploy"
c.close()
EOF
python3 -W ignore try.py; cmp big back`,
	},
	{
		name: "libssh", does: "exec, exit status, SFTP, with key and certificate files", state: works,
		script: `
cat >try.py <<'EOF'
import os
from ctypes import CDLL, POINTER, byref, c_char_p, c_int, c_void_p, c_uint32, c_size_t, c_ssize_t, c_uint64, create_string_buffer
lib = CDLL("libssh.so.4")
def fn(name, result, *args):
    f = getattr(lib, name)
    f.restype, f.argtypes = result, args
    return f
P = c_void_p
s = fn("ssh_new", P)()
option = fn("ssh_options_set", c_int, P, c_int, c_char_p)
for what, value in ((0, os.environ["ADDR"]), (2, os.environ["PORT"]), (4, "deploy")):  # HOST, PORT_STR, USER
    assert option(s, what, value.encode()) == 0
why = fn("ssh_get_error", c_char_p, P)
assert fn("ssh_connect", c_int, P)(s) == 0, why(s)
key = P()
assert fn("ssh_pki_import_privkey_file", c_int, c_char_p, c_char_p, P, P, POINTER(P))(os.environ["KEY"].encode(), None, None, None, byref(key)) == 0
if os.environ["CERT"]:
    cert = P()
    assert fn("ssh_pki_import_cert_file", c_int, c_char_p, POINTER(P))(os.environ["CERT"].encode(), byref(cert)) == 0
    assert fn("ssh_pki_copy_cert_to_privkey", c_int, P, P)(cert, key) == 0
assert fn("ssh_userauth_publickey", c_int, P, c_char_p, P)(s, None, key) == 0, why(s)
big = open("big", "rb").read()

c = fn("ssh_channel_new", P, P)(s)
assert fn("ssh_channel_open_session", c_int, P)(c) == 0, why(s)
assert fn("ssh_channel_request_exec", c_int, P, c_char_p)(c, b"cat; echo err >&2; exit 5") == 0, why(s)
assert fn("ssh_channel_write", c_int, P, c_char_p, c_uint32)(c, b"text", 4) == 4
assert fn("ssh_channel_send_eof", c_int, P)(c) == 0
def read(err):
    all, buf = b"", create_string_buffer(1000)
    while (n := fn("ssh_channel_read", c_int, P, c_char_p, c_uint32, c_int)(c, buf, 1000, err)) > 0:
        all += buf.raw[:n]
    assert n == 0, why(s)
    return all
assert (read(0), read(1)) == (b"text", b"err\n")
assert fn("ssh_channel_get_exit_status", c_int, P)(c) == 5
fn("ssh_channel_close", c_int, P)(c)

f = fn("sftp_new", P, P)(s)
assert fn("sftp_init", c_int, P)(f) == 0, why(s)
name = (os.environ["R"] + "/big").encode()
open_, close = fn("sftp_open", P, P, c_char_p, c_int, c_int), fn("sftp_close", c_int, P)
h = open_(f, name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)
assert h, why(s)
for i in range(0, len(big), 32768):
    part = big[i:i + 32768]
    assert fn("sftp_write", c_ssize_t, P, c_char_p, c_size_t)(h, part, len(part)) == len(part), why(s)
assert close(h) == 0
assert not open_(f, name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640)
h, back, buf = open_(f, name, os.O_RDONLY, 0), b"", create_string_buffer(32768)
while (n := fn("sftp_read", c_ssize_t, P, c_char_p, c_size_t)(h, buf, 32768)) > 0:
    back += buf.raw[:n]
assert n == 0 and close(h) == 0 and back == big
fn("sftp_free", None, P)(f)
fn("ssh_disconnect", None, P)(s)
EOF
python3 try.py; ssh $T stat -c %a $R/big | grep -qx 640`,
	},
	{
		name: "Go programs (x/crypto/ssh, pkg/sftp)", does: "concurrent writes, fsync, rename over a file, walk, with key and certificate files", state: works,
		script: `
"$BIN/gosftp" "deploy@$ADDR:$PORT" "$KEY" "$CERT" "$R" big`,
	},
	{
		name: "PuTTY plink, psftp", does: "exec, exit status, put, get, with key and certificate files", state: works,
		script: `
cp "$KEY" key; chmod 600 key
if [ -n "$CERT" ]; then puttygen key --certificate "$CERT" -o key.ppk -O private; else puttygen key -o key.ppk -O private; fi
print=$(ssh-keyscan -T 60 -t ed25519 -p $PORT $ADDR 2>/dev/null | ssh-keygen -lf - | cut -d' ' -f2)
p="-batch -P $PORT -i key.ppk -hostkey $print"
rc=0; plink $p deploy@$ADDR 'cat; exit 6' <big >back || rc=$?; [ $rc = 6 ]; cmp big back
printf 'cd %s\nput big\nget big again\nmv big moved\n' $R >batch
psftp $p -b batch deploy@$ADDR >out 2>&1 || { cat out; exit 1; }; cmp big again
ssh $T cat $R/moved | cmp - big`,
	},
	{
		name: "Dropbear dbclient", does: "exec and exit status", state: prompted,
		prompt: `
rc=0; { echo; until [ -e signed ]; do sleep 0.05; done; cat big; } | dbclient -y -y -p $PORT deploy@$ADDR 'cat; exit 6' >back || rc=$?
[ $rc = 6 ]; cmp big back`,
		script: `
dropbearconvert openssh dropbear "$KEY" key 2>/dev/null
rc=0; dbclient -y -y -i key -p $PORT deploy@$ADDR 'cat; exit 6' <big >back 2>err || rc=$?; cat err; [ $rc = 6 ]; cmp big back`,
	},
	{
		name: "lftp", does: "mirror up and down, over its ssh", state: works,
		script: `
mkdir -p tree/sub; cp big tree/sub/; echo x >tree/x
lftp -c "set net:max-retries 1; set cmd:fail-exit yes; open sftp://deploy:@$HOST; mirror -R tree $R/tree; mirror $R/tree again; get $R/tree/x -o back"
diff -r tree again; cmp tree/x back`,
	},
	{
		name: "mosh", does: "its bootstrap over ssh (its UDP session does not cross the tunnel)", state: works,
		script: `
ssh -tt $T env LANG=C.UTF-8 mosh-server new -i 127.0.0.1 -c 256 >out 2>/dev/null </dev/null
grep -qE '^MOSH CONNECT [0-9]+ [A-Za-z0-9+/]{22}' out || { cat out; exit 1; }
pid=$(grep -oE 'pid = [0-9]+' out | cut -d' ' -f3); ssh $T "kill -0 $pid && kill $pid"`,
	},
	{
		name: "VS Code Remote", does: "its way: `ssh -T -D` and a shell on a pipe", state: works,
		script: `
ssh $T "printf through >$R/page"
mkfifo in; ssh -T -D 18090 $T bash <in >out 2>err & ssh=$!
exec 3>in; trap 'exec 3>&-; kill $ssh 2>/dev/null || true' EXIT
echo 'uname -s; cd '$R'; python3 -m http.server --bind 127.0.0.1 18091 >/dev/null 2>&1 & server=$!; echo ready' >&3
got=; for i in $(seq 900); do grep -q ready out && got=$(curl -sf --socks5-hostname 127.0.0.1:18090 http://127.0.0.1:18091/page) && break; sleep 0.1; done
[ "$got" = through ]; [ "$(head -1 out)" = Linux ]
echo 'kill $server; wait $server; exit 4' >&3; exec 3>&-; rc=0; wait $ssh || rc=$?; [ $rc = 4 ]`,
	},
}
