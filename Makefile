# Lanyard: build, try and test. Everything that is built lies in .build/.
#
#   make build        the programs, in .build/bin
#   make demo         a sign-in and ssh over the tunnel on pretended machines, then clean up
#   make demo-up      the same, left running; make demo-down ends it
#   make test         all tests (as root: with namespaces; else what needs root is skipped with a reason)
#   make packages     the packages for every system, in .build/packages
#   make bench        compares with OpenSSH's sshd
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := build

GO ?= go
# What is shipped is built without cgo, and so are the tests: they share a cache.
export CGO_ENABLED := 0
BIN := .build/bin
# The programs, and the programs of the tests.
MAINS := lanyard=./service lanyard-helper=./service/helper lanyard-mgmt=./mgmt $(if $(wildcard tray/*.go),lanyard-tray=./tray) $(if $(wildcard installer/*.go),lanyard-pack=./installer)
TOOLS := browser=./test/browser gosftp=./test/gosftp hostile=./test/hostile issuer=./test/issuer proxy=./test/proxy relay=./test/relay skew=./test/skew
CROSS_SYSTEMS ?= linux windows darwin freebsd
CROSS_ARCHS ?= amd64 arm64
ROOT := $(filter 0,$(shell id -u))
# Suites with real programs of others, each a folder under test/ with a target test-NAME.
SUITES := $(strip $(foreach s,clients desktop packages,$(if $(wildcard test/$s/*.go),$s)))
empty :=
space := $(empty) $(empty)

FUZZTIME ?= 60s
SOAK ?= 30m
# How often the tests run; packages under test/ need the built programs and more time.
TESTFLAGS ?=
# The race detector makes SQLite, which is translated C, password hashing and compression thirty times slower; none is
# ours. The systray library's menu counter is raced for by its own goroutines. A program under the detector sleeps a
# second before it ends, unless told otherwise: many tests start programs.
RACE := -race $(foreach p,fyne.io/systray modernc.org/... golang.org/x/crypto/blowfish compress/... github.com/klauspost/... github.com/ulikunitz/...,-gcflags=$p=-race=0)
UNIT = $$($(GO) list ./... | grep -v /test/)

GOLANGCI := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOFUMPT := mvdan.cc/gofumpt@v0.12.0

.PHONY: $(addprefix test-,clients desktop packages) $(addprefix check-tools-,clients desktop packages) build test test-race test-e2e demo demo-up demo-down bench fuzz packages soak lint cross clean check-go check-tools

# File transfer keeps to a rule's folders by os.Root, which links could leave before 1.26.5 (golang/go#78293, #79005).
check-go:
	@v=$$($(GO) env GOVERSION 2>/dev/null || true); case $$v in \
	go1.26|go1.26rc*|go1.26beta*|go1.26.[0-4]|go1.26.[0-4]-*) old=y;; \
	go1.2[6-9]*|go1.[3-9][0-9]*|go[2-9]*|devel*) old=;; \
	"") echo "Lanyard needs Go 1.26.5 or later, and there is no '$(GO)' on the PATH; install it from go.dev/dl." >&2; exit 1;; \
	*) old=y;; esac; \
	if [ -n "$$old" ]; then echo "Lanyard needs Go 1.26.5 or later, and '$(GO)' is $$v; install a newer one from go.dev/dl." >&2; exit 1; fi

# What the demo, the tests and the benchmark call, with its Debian package: installed when root, else named.
TOOLS_NEEDED := ssh=openssh-client scp=openssh-client ssh-keygen=openssh-client ss=iproute2 curl=curl
ifdef ROOT
TOOLS_NEEDED += sshd=openssh-server xauth=xauth python3=python3 nft=nftables ip=iproute2 nsenter=util-linux ufw=ufw iptables=iptables \
  plink=putty-tools dbclient=dropbear-bin script=bsdutils /usr/lib/python3/dist-packages/paramiko/__init__.py=python3-paramiko \
  gnome-keyring-daemon=gnome-keyring dbus-run-session=dbus-daemon pkexec=pkexec /usr/lib/polkit-1/polkitd=polkitd pgrep=procps \
  /usr/share/bash-completion/bash_completion=bash-completion
# program=package; a path stands for a file that must be there.
TOOLS_NEEDED_clients := sshd=openssh-server sftp=openssh-client ssh-copy-id=openssh-client ssh-audit=ssh-audit rsync=rsync git=git \
  sshfs=sshfs ansible=ansible-core python3=python3 /usr/lib/python3/dist-packages/paramiko=python3-paramiko plink=putty-tools \
  psftp=putty-tools puttygen=putty-tools dbclient=dropbear-bin lftp=lftp mosh-server=mosh curl=curl pkill=procps \
  /usr/share/doc/libssh-4=libssh-4
# A pretended Windows machine (test/wine), and MSI packages.
TOOLS_WINE := /usr/lib/wine/wine64=wine64 x86_64-w64-mingw32-gcc=gcc-mingw-w64-x86-64
TOOLS_NEEDED_desktop := $(TOOLS_WINE) Xvfb=xvfb xdotool=xdotool import=imagemagick xdpyinfo=x11-utils xsetroot=x11-xserver-utils \
  xfce4-panel=xfce4-panel xfwm4=xfwm4 xfconf-query=xfconf secret-tool=libsecret-tools dunst=dunst chromium=chromium certutil=libnss3-tools xterm=xterm \
  xclip=xclip tesseract=tesseract-ocr /usr/share/tesseract-ocr/5/tessdata/eng.traineddata=tesseract-ocr-eng /usr/share/fonts/truetype/dejavu/DejaVuSans.ttf=fonts-dejavu-core
TOOLS_NEEDED_packages := systemd-nspawn=systemd-container mmdebstrap=mmdebstrap lintian=lintian rpm=rpm bsdtar=libarchive-tools \
  shellcheck=shellcheck desktop-file-validate=desktop-file-utils $(TOOLS_WINE) Xvfb=xvfb wixl=wixl msibuild=msitools osslsigncode=osslsigncode \
  podman=podman runc=runc gpg=gnupg debsig-verify=debsig-verify openssl=openssl \
  /usr/share/doc/busybox-static=busybox-static
endif
# A download may fail, and another program may hold apt's lock, for a while.
APT := -o Acquire::Retries=5 -o DPkg::Lock::Timeout=300
check-tools:
	@$(call install,$(TOOLS_NEEDED))
$(addprefix check-tools-,clients desktop packages): check-tools-%:
	@$(call install,$(TOOLS_NEEDED_$*))

define install
missing=; for w in $(1); do p=$${w%%=*}; \
case $$p in /*) [ -e $$p ] || missing="$$missing $${w#*=}";; *) PATH=$$PATH:/usr/sbin:/sbin command -v $$p >/dev/null || missing="$$missing $${w#*=}";; esac; done; \
if [ -z "$$missing" ]; then exit 0; fi; \
missing=$$(printf '%s\n' $$missing | sort -u | tr '\n' ' '); \
if [ -n "$(ROOT)" ] && command -v apt-get >/dev/null; then \
  echo "Installing $$missing"; log=$$(mktemp); \
  for try in 1 2 3; do \
    if { apt-get $(APT) update && DEBIAN_FRONTEND=noninteractive apt-get $(APT) install -y --no-install-recommends $$missing; } >$$log 2>&1; then break; fi; \
    if [ $$try = 3 ]; then cat $$log >&2; rm $$log; exit 1; fi; sleep 10; \
  done; rm $$log; \
else echo "Missing programs; install the packages: $$missing" >&2; exit 1; fi
endef

# All programs carry one version, as packages of the same source do: lanyard takes no helper of another one. Where git knows
# none (an archive of the source), it is 0.0.0+0.dirty.
build: check-go
	@mkdir -p $(BIN)
	@for m in $(filter lanyard-pack=%,$(MAINS)) $(TOOLS); do $(GO) build -ldflags='-s -w' -o $(BIN)/$${m%%=*} $${m#*=}; done
	@v=$$($(BIN)/lanyard-pack version 2>/dev/null || echo 0.0.0+0.dirty); \
	for m in $(filter-out lanyard-pack=%,$(MAINS)); do \
	  $(GO) build -ldflags="-s -w -X lanyard/platform/release.stamped=$$v -X main.stamped=$$v" -o $(BIN)/$${m%%=*} $${m#*=}; \
	done

# All tests: unit and component tests and the end-to-end tests on the built programs, then one suite after the other of
# those that bring programs of others. TEST_JSON=FILE writes go test -json; what a test said itself then comes after its logs.
test: build check-tools $(addprefix check-tools-,$(SUITES))
	@if [ -n "$(TEST_JSON)" ]; then mkdir -p $$(dirname "$(TEST_JSON)"); : >"$(TEST_JSON)"; fi
	@all=$$($(GO) list ./...); few=$$(grep -vE '/test/($(subst $(space),|,$(SUITES)))$$' <<<"$$all"); \
	limit=25m; for set in "$$few" $(foreach s,$(SUITES),./test/$s); do \
	  if [ -n "$(TEST_JSON)" ]; then \
	    $(GO) test -json -timeout $$limit $(TESTFLAGS) $$set >>"$(TEST_JSON)" || { \
	      grep '"Action":"fail"' "$(TEST_JSON)" | grep -oE '"Package":"[^"]*"(,"Test":"[^"]*")?' | sort -u | while read -r t; do \
	        echo "FAIL $$t"; grep -F '"Action":"output"' "$(TEST_JSON)" | grep -F -e "$$t,\"Output\"" | \
          sed -E 's/.*"Output":"//; s/(\\n)?"\}$$//' | awk '{ l[NR] = $$0 } /^ *[a-z0-9_]+_test\.go:[0-9]+:/ { r[++n] = $$0 } \
            END { for (i = NR > 60 ? NR-59 : 1; i <= NR; i++) print l[i]; for (i = n > 8 ? n-7 : 1; i <= n; i++) print r[i] }'; done >&2; exit 1; }; \
	  else $(GO) test -timeout $$limit $(TESTFLAGS) $$set; fi; limit=15m; \
	done
	@if [ -n "$(TEST_JSON)" ]; then \
	  echo "$$(grep -c '"Action":"pass".*"Test"' "$(TEST_JSON)") passed, 0 failed, $$(grep -c '"Action":"skip".*"Test"' "$(TEST_JSON)") skipped"; fi

# One suite alone: make test-clients, test-desktop, test-packages.
$(addprefix test-,$(SUITES)): test-%: build check-tools check-tools-%
	@$(GO) test -count=1 -timeout 15m $(TESTFLAGS) ./test/$*

test-race: check-go check-tools $(addprefix check-tools-,$(SUITES))
	@GORACE=atexit_sleep_ms=50 CGO_ENABLED=1 $(GO) test $(RACE) -timeout 15m $(TESTFLAGS) $(UNIT)

test-e2e: build check-tools
	@$(GO) test -count=1 -timeout 25m $(TESTFLAGS) ./test/e2e ./test/lab

.build/tools/demo: build
	@mkdir -p .build/tools && $(GO) build -o $@ ./test/demo
.build/tools/bench: build
	@mkdir -p .build/tools && $(GO) build -o $@ ./test/bench
.PHONY: .build/tools/demo .build/tools/bench

demo: check-tools .build/tools/demo
	@.build/tools/demo $(if $(USERSPACE),--userspace)
demo-up: check-tools .build/tools/demo
	@.build/tools/demo $(if $(USERSPACE),--userspace) up
demo-down: .build/tools/demo
	@.build/tools/demo down

# BENCH_PAIRS=N pairs (default 30), BENCH_JSON=FILE writes {name: ratio}, BENCH_ONLY=name,name.
bench: check-tools check-tools-packages .build/tools/bench
	@.build/tools/bench

# Every fuzz target for FUZZTIME, one on each processor, each package built once. What breaks one is kept in its package's
# testdata/fuzz. Go's engine now and then ends a clean run with "context deadline exceeded" and no input
# (golang/go#75804): such a run counts for nothing and is made again, three times at most. A finding always comes with its
# input.
fuzz: check-go
	@mkdir -p .build/fuzz
	@for p in $$(grep -rlE '^func Fuzz' --include='*_test.go' . | xargs -n 1 dirname | sort -u); do \
	  b=.build/fuzz/$$(tr / _ <<<"$${p#./}").test; $(GO) test -c -fuzz=Fuzz -o $$b $$p; \
	  for f in $$($$b -test.list '^Fuzz'); do echo "$$p $$b $$f"; done; \
	done >.build/fuzz/targets
	@xargs -P $$(nproc 2>/dev/null || echo 2) -L 1 bash -eu -o pipefail -c '$(fuzz_target)' fuzz <.build/fuzz/targets

define fuzz_target
p=$$1; b=$(CURDIR)/$$2; f=$$3; log=$$b.$$f.log; cd $$p; \
for try in 1 2 3; do \
  echo "fuzz $$p $$f $(FUZZTIME)"; \
  ! GOMAXPROCS=1 $$b -test.run "^$$" -test.fuzz "^$$f$$" -test.fuzztime $(FUZZTIME) -test.fuzzminimizetime 2s -test.timeout 0 \
    -test.fuzzcachedir $(CURDIR)/.build/fuzz/corpus/$$p >$$log 2>&1 || exit 0; \
  if [ $$try = 3 ] || grep -qE "Failing input|hung or terminated|panic:" $$log || \
    ! grep -qE "^ +context deadline exceeded$$" $$log; then cat $$log >&2; exit 255; fi; \
  echo "the engine missed its own deadline: $$p $$f once more"; \
done
endef

# The end-to-end tests over and over for SOAK.
soak: build check-tools
	@end=$$(( $$(date +%s) + $$(echo $(SOAK) | sed -E 's/^([0-9]+)h$$/\1*3600/; s/^([0-9]+)m$$/\1*60/; s/^([0-9]+)s$$/\1/') )); n=0; \
	while [ $$(date +%s) -lt $$end ]; do \
	LANYARD_SOAK=1 $(GO) test -count=1 -v -timeout 20m ./sshd -run 'TestMany|TestConnectionsThatNever|TestRekeying|TestSharedConnection' | grep -vE '^(=== |time=)'; \
	$(GO) test -count=1 -timeout 10m ./test/e2e; n=$$((n+1)); echo "soak: round $$n is green"; done

lint: check-go
	@mkdir -p .build/tools
	@for m in $(GOLANGCI) $(GOFUMPT); do p=$${m%@*}; [ ! -x .build/tools/$${p##*/} ] || continue; \
	  for try in 1 2 3; do \
	    if GOBIN=$(CURDIR)/.build/tools $(GO) install $$m; then break; fi; \
	    if [ $$try = 3 ]; then exit 1; fi; sleep 10; \
	  done; \
	done
	@bad=$$(.build/tools/gofumpt -l $$(git ls-files '*.go')); [ -z "$$bad" ] || { echo "not formatted (gofumpt -w):" $$bad >&2; exit 1; }
	@.build/tools/golangci-lint run ./...
	@if command -v shellcheck >/dev/null; then shellcheck .ci/run $$(git ls-files '*.sh'); else echo "shellcheck is missing: apt-get install shellcheck" >&2; exit 1; fi

# Every program for every system and processor.
cross: check-go
	@mkdir -p .build/cross
	@for os in $(CROSS_SYSTEMS); do for arch in $(CROSS_ARCHS); do \
	  echo "$$os/$$arch"; ext=; [ $$os != windows ] || ext=.exe; \
	  for m in $(MAINS); do gui=; case $$os-$${m%%=*} in darwin-lanyard-tray) continue;; windows-lanyard-tray) gui=-ldflags=-H=windowsgui;; esac; \
	    CGO_ENABLED=0 GOOS=$$os GOARCH=$$arch $(GO) build $$gui -o .build/cross/$${m%%=*}-$$os-$$arch$$ext $${m#*=}; done; \
	done; done
	@if [ -f tray/testdata/systray.go.txt ] && [[ " $(CROSS_SYSTEMS) " == *" darwin "* ]]; then echo "darwin: types of the tray"; \
	  mkdir -p .build/cross/systray; cp tray/testdata/systray.go.txt .build/cross/systray/systray.go; \
	  printf 'module fyne.io/systray\n\ngo 1.19\n' >.build/cross/systray/go.mod; \
	  cp go.sum .build/cross/tray.sum; cp go.mod .build/cross/tray.mod; \
	  $(GO) mod edit -replace fyne.io/systray=$(CURDIR)/.build/cross/systray .build/cross/tray.mod; \
	  for arch in $(CROSS_ARCHS); do CGO_ENABLED=0 GOOS=darwin GOARCH=$$arch $(GO) build -modfile=.build/cross/tray.mod -o /dev/null ./tray; done; fi

# The packages of every system, of the same bytes wherever they are built from a commit. PACK says more to lanyard-pack:
# make packages PACK='--formats deb --archs amd64 --version 1.2.3'.
PACK ?=
packages: check-go
	@mkdir -p $(BIN) && $(GO) build -trimpath -buildvcs=false -ldflags='-s -w' -o $(BIN)/lanyard-pack ./installer
	@$(BIN)/lanyard-pack build --source . --out .build/packages $(PACK)

clean:
	@rm -rf .build
