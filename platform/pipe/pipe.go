// Package pipe opens named pipes of Windows and says who may. Other systems have Unix sockets, and nothing here.
package pipe
