// Package redirect decides, packet by packet, what crosses between the overlay network and this machine.
//
// It stands in the packet path, between WireGuard and the TUN interface (or the userspace stack), and is the same
// code on every system; no firewall rule of the host is needed or touched. It does two things:
//
// The redirect. Another program, an sshd on 0.0.0.0:22, may own port 22 of every address of this machine, ours in
// the overlay included, and the kernel lets nobody else bind it. So packets to overlay:22 have their destination port
// changed to 22022 on the way in, where our listener is, and the source port changed back on the way out. The peer
// never sees 22022. A SYN to overlay:22 from an admitted peer registers the connection in the flow table under its
// source address and port; the SSH server serves registered connections only. A packet that carries 22022 on the wire
// is dropped, so the redirect is the only way to that listener.
//
// The filter. Everything inbound is dropped, except: TCP to port 22 from admitted peers, ICMP echo requests from
// known peers, and answers to what this machine opened itself (TCP, UDP, ICMP echo, and the ICMP errors about them).
// When this machine does not serve SSH, or the peer is not admitted, packets to port 22 are dropped too: the overlay
// never reaches the machine's own sshd. Fragments and IPv6 extension headers are dropped inbound: the ports of later
// fragments cannot be known, and the overlay's TCP never needs them (the MTU is the same everywhere). WireGuard has
// checked before us that a source address belongs to the peer that sent it; this machine's own addresses are never a
// source.
//
// # Replacing the process that owns the TUN
//
// Nothing here must outlive the process. The flow table can be made again from the kernel: every established socket
// with local port 22022 on our overlay address is a redirected flow (Adopt), and every other one of that address is a
// flow that a program of this machine opened (AdoptOwn). Where that table cannot be read, outgoing flows are made again
// by their next outgoing packet, and until then their programs hear nothing. So an upgrade that keeps sessions works like this: the new process receives the descriptor of
// the TUN and the listening sockets by SCM_RIGHTS (or from the service manager's descriptor store), opens the same UDP
// port after the old one closed it, handshakes anew with the peers (one round trip), and adopts the flows that it
// finds in the kernel's socket table. The old process stays until its last accepted connection ends: those are kernel
// sockets of its own, and the kernel does not mind who carries the packets. UDP sockets need not be handed over:
// WireGuard takes the gap of a few milliseconds for packet loss. Flows that end in the in-process stack (below) are
// not kernel sockets and end with the process.
//
// # Where flows end
//
// A host firewall that drops everything but port 22 lets the original packet through but drops the redirected one. A
// flow therefore has a place: the kernel's listener, or an in-process stack that reads the packets before the host's
// firewall sees them. The owner probes (Device.Probe) and sets the place of new flows; a flow whose SYN the kernel
// leaves unanswered moves by itself when the peer repeats it.
package redirect
