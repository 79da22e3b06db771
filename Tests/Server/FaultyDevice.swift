// A log device over another one that can be told to fill up or to fail.
import Glibc
import NeedletailServer
import NeedletailWAL

/// Sendable: guarded by its monitor.
final class FaultSwitch: @unchecked Sendable {
  enum State {
    case working
    /// Files can't grow.
    case full
    /// Group writes fail.
    case broken
    /// Group writes wait.
    case stuck
  }

  private let monitor = Monitor()
  private var state = State.working

  func set(_ new: State) { monitor.locked { state = new } }
  var current: State { monitor.locked { state } }
}

/// Sendable: as its base.
final class FaultyDevice: LogDevice, @unchecked Sendable {
  private let base: any LogDevice
  private let fault: FaultSwitch

  init(_ base: any LogDevice, _ fault: FaultSwitch) {
    self.base = base
    self.fault = fault
  }

  private func checkRoom(_ operation: String, _ file: String) throws(WALError) {
    if fault.current == .full { throw .noSpace(operation: operation, file: file) }
  }

  var summary: String { base.summary }
  var completionDescriptor: Int32 { base.completionDescriptor }
  var maximumInFlight: Int { base.maximumInFlight }
  func list() throws(WALError) -> [String] { try base.list() }
  func create(_ name: String) throws(WALError) -> LogFile {
    try checkRoom("create", name)
    return try base.create(name)
  }
  func open(_ name: String) throws(WALError) -> LogFile { try base.open(name) }
  func openForGroups(_ name: String) throws(WALError) -> LogFile { try base.openForGroups(name) }
  func close(_ file: LogFile) { base.close(file) }
  func size(_ file: LogFile) throws(WALError) -> UInt64 { try base.size(file) }
  func reserve(_ file: LogFile, _ size: UInt64) throws(WALError) {
    try checkRoom("reserve", file.name)
    try base.reserve(file, size)
  }
  func truncate(_ file: LogFile, to size: UInt64) throws(WALError) { try base.truncate(file, to: size) }
  func read(_ file: LogFile, into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(WALError) -> Int {
    try base.read(file, into: buffer, at: offset)
  }
  func nextData(_ file: LogFile, from offset: UInt64) -> UInt64 { base.nextData(file, from: offset) }
  func write(_ file: LogFile, _ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(WALError) {
    try base.write(file, bytes, at: offset)
  }
  func writeDurable(_ file: LogFile, _ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(WALError) {
    try base.writeDurable(file, bytes, at: offset)
  }
  func sync(_ file: LogFile) throws(WALError) { try base.sync(file) }
  func rename(_ from: String, to: String) throws(WALError) { try base.rename(from, to: to) }
  func remove(_ name: String) throws(WALError) { try base.remove(name) }
  func syncDirectory() throws(WALError) { try base.syncDirectory() }
  func adopt(buffers: [UnsafeMutableRawBufferPointer]) { base.adopt(buffers: buffers) }
  func beginWrite(_ file: LogFile, _ bytes: UnsafeRawBufferPointer, at offset: UInt64, slot: Int) throws(WALError) {
    if fault.current == .broken { throw .system(operation: "write", file: file.name, code: 5) }
    while fault.current == .stuck { usleep(1_000) }
    try base.beginWrite(file, bytes, at: offset, slot: slot)
  }
  func takeCompletion(wait: Bool) throws(WALError) -> WriteCompletion? { try base.takeCompletion(wait: wait) }
  func clearSignal() { base.clearSignal() }
  func shutdown() { base.shutdown() }
}
