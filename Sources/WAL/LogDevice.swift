/// The seam between the log and the disk: real files (FileLogDevice) or a simulated disk that crashes, tears and
/// reorders (SimulatedLogDevice).
///
/// Durability contract: bytes are durable after `writeDurable`, after `sync` of the file they were written to, or when
/// a group write's completion says that every byte was written. Names are durable after `syncDirectory`.
/// Calls that concern files and names may come from the log's helper thread while the log thread writes groups.
package protocol LogDevice: AnyObject, Sendable {
  /// The path chosen, in words for the log line.
  var summary: String { get }
  /// An eventfd that becomes readable when a group write completes, or -1.
  var completionDescriptor: Int32 { get }
  /// Group writes that may be in flight at once at most.
  var maximumInFlight: Int { get }

  /// Names of the files in the directory.
  func list() throws(WALError) -> [String]
  /// Makes a new, empty file.
  func create(_ name: String) throws(WALError) -> LogFile
  /// Opens for reading and `sync`.
  func open(_ name: String) throws(WALError) -> LogFile
  /// Opens for group writes and `writeDurable` of aligned blocks.
  func openForGroups(_ name: String) throws(WALError) -> LogFile
  func close(_ file: LogFile)
  func size(_ file: LogFile) throws(WALError) -> UInt64
  /// Allocates the blocks up to `size` and makes the file that long.
  func reserve(_ file: LogFile, _ size: UInt64) throws(WALError)
  /// Shortens the file; need not be durable.
  func truncate(_ file: LogFile, to size: UInt64) throws(WALError)
  /// Fills `buffer` from `offset`; fewer bytes only at the end of the file.
  func read(_ file: LogFile, into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64) throws(WALError) -> Int
  /// The first place at or after `offset` from which on there may be other bytes than zeros.
  func nextData(_ file: LogFile, from offset: UInt64) -> UInt64
  /// Writes all of `bytes`, durable after the next `sync`.
  func write(_ file: LogFile, _ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(WALError)
  /// Writes all of `bytes`, durable on return.
  func writeDurable(_ file: LogFile, _ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(WALError)
  func sync(_ file: LogFile) throws(WALError)
  func rename(_ from: String, to: String) throws(WALError)
  func remove(_ name: String) throws(WALError)
  func syncDirectory() throws(WALError)

  /// Tells the buffers that group writes will come from, one per slot; they live until `shutdown`.
  func adopt(buffers: [UnsafeMutableRawBufferPointer])
  /// Starts a durable write. `bytes` stays untouched until its completion is taken.
  func beginWrite(_ file: LogFile, _ bytes: UnsafeRawBufferPointer, at offset: UInt64, slot: Int) throws(WALError)
  /// Takes a completion, in any order; nil when there is none yet (never with `wait` while a write is in flight).
  func takeCompletion(wait: Bool) throws(WALError) -> WriteCompletion?
  /// Clears the completion descriptor; completions that come later raise it again.
  func clearSignal()
  /// Gives everything back. No group write is in flight.
  func shutdown()
}

/// An open file of a device.
package struct LogFile: Sendable {
  package var descriptor: Int32
  package var name: String
}

/// The end of a group write: bytes written, or -errno.
package struct WriteCompletion: Sendable {
  package var slot: Int
  package var result: Int
}
