// The byte buffer lies in a module of its own, below both the storage that writes answers and the wire that sends them.
@_exported import NeedletailBytes
