import CNeedletail
import Glibc

/// The log's directory, to look at and nothing more: what recovery would put in order stays as it is.
///
/// Whoever looks holds the store's lock, so that nobody writes meanwhile. `Sendable`: the path never changes; the calls on
/// files are system calls on descriptors their callers own.
package final class ReadOnlyLogDevice: LogDevice {
  private let directory: String

  package init(_ directory: String) { self.directory = directory }

  package let summary = "read only"
  package let completionDescriptor: Int32 = -1
  package let maximumInFlight = 1

  package func list() throws(WALError) -> [String] {
    guard let stream = opendir(directory) else { throw .failed("opendir", directory, errno) }
    defer { closedir(stream) }
    var names: [String] = []
    while true {
      errno = 0
      guard let entry = readdir(stream) else {
        if errno != 0 { throw .failed("readdir", directory, errno) }
        return names
      }
      let name = withUnsafeBytes(of: &entry.pointee.d_name) { bytes in
        String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
      }
      if name != ".", name != ".." { names.append(name) }
    }
  }

  package func open(_ name: String) throws(WALError) -> LogFile {
    let path = "\(directory)/\(name)"
    let descriptor = Glibc.open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw .failed("open", path, errno) }
    return LogFile(descriptor: descriptor, name: name)
  }

  package func close(_ file: LogFile) { Glibc.close(file.descriptor) }

  package func size(_ file: LogFile) throws(WALError) -> UInt64 {
    var status = stat()
    guard fstat(file.descriptor, &status) == 0 else { throw .failed("stat", file.name, errno) }
    return UInt64(clamping: status.st_size)
  }

  package func read(
    _ file: LogFile, into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64
  ) throws(WALError) -> Int {
    var done = 0
    while done < buffer.count, let base = buffer.baseAddress {
      let count = pread(file.descriptor, base + done, buffer.count - done, off_t(clamping: offset + UInt64(done)))
      if count < 0, errno == EINTR { continue }
      guard count >= 0 else { throw .failed("read", file.name, errno) }
      if count == 0 { break }
      done += count
    }
    return done
  }

  package func nextData(_ file: LogFile, from offset: UInt64) -> UInt64 {
    UInt64(clamping: nt_next_data(file.descriptor, Int64(clamping: offset)))
  }

  // What is read need not be durable, and nothing is tidied up.
  package func sync(_ file: LogFile) throws(WALError) {}
  package func syncDirectory() throws(WALError) {}
  package func remove(_ name: String) throws(WALError) {}
  package func rename(_ from: String, to: String) throws(WALError) { throw refusal("rename", from) }
  package func truncate(_ file: LogFile, to size: UInt64) throws(WALError) { throw refusal("truncate", file.name) }

  /// As on a full disk: recovery does without its copy of a torn tail then.
  package func create(_ name: String) throws(WALError) -> LogFile { throw .noSpace(operation: "create", file: name) }
  package func openForGroups(_ name: String) throws(WALError) -> LogFile { throw refusal("open for writing", name) }
  package func reserve(_ file: LogFile, _ size: UInt64) throws(WALError) { throw refusal("reserve", file.name) }
  package func write(_ file: LogFile, _ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(WALError) {
    throw refusal("write", file.name)
  }
  package func writeDurable(_ file: LogFile, _ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(WALError) {
    throw refusal("write", file.name)
  }
  package func beginWrite(
    _ file: LogFile, _ bytes: UnsafeRawBufferPointer, at offset: UInt64, slot: Int
  ) throws(WALError) {
    throw refusal("write", file.name)
  }

  private func refusal(_ operation: String, _ file: String) -> WALError {
    .system(operation: operation, file: file, code: EROFS)
  }

  package func adopt(buffers: [UnsafeMutableRawBufferPointer]) {}
  package func takeCompletion(wait: Bool) throws(WALError) -> WriteCompletion? { nil }
  package func clearSignal() {}
  package func shutdown() {}
}

extension WAL {
  /// What opening the log would find and replay, and nothing of it is changed. Errors as those of `open`.
  package static func inspect(
    device: any LogDevice, options: WALOptions, visit: (RecoveredRecord) -> Void
  ) throws(WALError) -> RecoveryReport {
    try options.validate()
    var plain = options
    plain.repairs = false
    var recovery = Recovery(device, plain)
    return try recovery.run { (record) throws(WALError) in visit(record) }.report
  }
}
