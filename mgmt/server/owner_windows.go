package server

import "net"

// fromOwner: the pipe's access list decides who may open it.
func fromOwner(net.Conn) bool { return true }
