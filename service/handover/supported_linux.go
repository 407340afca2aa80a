package handover

const supported = true
