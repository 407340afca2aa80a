package server

import "net"

// fromOwner: on Windows the folder's access list decides who may open the socket.
func fromOwner(net.Conn) bool { return true }
