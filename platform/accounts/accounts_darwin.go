package accounts

const firstPerson = 500 // dscl and System Settings begin at 501
