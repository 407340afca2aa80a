package macpkg

import (
	"bytes"
	"compress/zlib"
	"crypto/sha1"
	"encoding/binary"
	"fmt"
	"time"
)

// member is a file or folder of a xar archive.
type member struct {
	name   string
	folder []member
	data   []byte
	stored bool // is compressed already
}

const (
	xarMagic  = 0x78617221 // "xar!"
	xarHeader = 28         // bytes
	xarSHA1   = 1
)

// xar writes an archive: a header, a table of contents in compressed XML, and a heap that begins with the table's
// checksum. SHA-1 is what the format's readers all know; it guards against damage, and a signature covers the rest.
func xar(when time.Time, members []member) ([]byte, error) {
	var heap, toc bytes.Buffer
	heap.Write(make([]byte, sha1.Size))
	fmt.Fprintf(&toc, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<xar>\n<toc>\n<creation-time>%s</creation-time>\n<checksum style=\"sha1\"><offset>0</offset><size>%d</size></checksum>\n",
		when.UTC().Format("2006-01-02T15:04:05"), sha1.Size)
	id := 0
	var emit func(m member) error
	emit = func(m member) error {
		id++
		fmt.Fprintf(&toc, "<file id=\"%d\"><name>%s</name>", id, escape(m.name))
		if m.folder != nil {
			toc.WriteString("<type>directory</type><mode>0755</mode>\n")
			for _, f := range m.folder {
				if err := emit(f); err != nil {
					return err
				}
			}
			toc.WriteString("</file>\n")
			return nil
		}
		packed, style := m.data, "application/octet-stream"
		if !m.stored {
			b, err := deflate(m.data)
			if err != nil {
				return err
			}
			packed, style = b, "application/x-gzip" // the format's name for zlib
		}
		fmt.Fprintf(&toc, "<type>file</type><mode>0644</mode><data><length>%d</length><offset>%d</offset><size>%d</size>"+
			"<encoding style=\"%s\"/><archived-checksum style=\"sha1\">%x</archived-checksum><extracted-checksum style=\"sha1\">%x</extracted-checksum></data></file>\n",
			len(packed), heap.Len(), len(m.data), style, sha1.Sum(packed), sha1.Sum(m.data))
		heap.Write(packed)
		return nil
	}
	for _, m := range members {
		if err := emit(m); err != nil {
			return nil, err
		}
	}
	toc.WriteString("</toc>\n</xar>\n")
	table, err := deflate(toc.Bytes())
	if err != nil {
		return nil, err
	}
	sum := sha1.Sum(table)
	copy(heap.Bytes(), sum[:])
	var out bytes.Buffer
	out.Write(words(uint32(xarMagic), uint16(xarHeader), uint16(1), uint64(len(table)), uint64(toc.Len()), uint32(xarSHA1)))
	out.Write(table)
	out.Write(heap.Bytes())
	return out.Bytes(), nil
}

func deflate(b []byte) ([]byte, error) {
	var out bytes.Buffer
	z, err := zlib.NewWriterLevel(&out, zlib.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := z.Write(b); err != nil {
		return nil, err
	}
	err = z.Close()
	return out.Bytes(), err
}

// words are values of fixed size one after the other, the highest byte first.
func words(v ...any) []byte {
	var b []byte
	for _, x := range v {
		b, _ = binary.Append(b, binary.BigEndian, x) // fixed sizes only
	}
	return b
}
