package accounts

const firstPerson = 1000 // pw.conf(5), minuid
