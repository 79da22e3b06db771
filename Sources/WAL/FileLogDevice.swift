import CNeedletail
import Glibc

/// The log's directory on a real file system. Names are relative to the directory's descriptor.
///
/// `@unchecked Sendable`: the directory descriptor and the summary never change after init; the calls on files and
/// names are system calls on descriptors their callers own; the group writer is touched by the log thread only.
package final class FileLogDevice: LogDevice, @unchecked Sendable {
  private let directory: String
  private let directoryDescriptor: Int32
  private let writer: any GroupWriter
  private let signal: Int32
  private let direct: Bool
  package let summary: String

  /// Opens the directory, making it (not its parents) when missing, and chooses the path of the group writes.
  package init(directory: String, options: WALOptions) throws(WALError) {
    self.directory = directory
    directoryDescriptor = try Self.openDirectory(directory)
    signal = nt_signal_open()
    do throws(WALError) {
      if signal < 0 { throw WALError.failed("eventfd", directory, -signal) }
      direct = options.direct ? try Self.takesDirect(directoryDescriptor, directory) : false
      writer = try Self.chooseWriter(options, signal: signal)
    } catch {
      if signal >= 0 { Glibc.close(signal) }
      Glibc.close(directoryDescriptor)
      throw error
    }
    summary = "\(writer.name), \(direct ? "O_DIRECT" : "buffered"), RWF_DSYNC, \(writer.maximumInFlight) in flight"
  }

  deinit {
    Glibc.close(signal)
    Glibc.close(directoryDescriptor)
  }

  package var completionDescriptor: Int32 { signal }
  package var maximumInFlight: Int { writer.maximumInFlight }

  private static func chooseWriter(_ options: WALOptions, signal: Int32) throws(WALError) -> any GroupWriter {
    if options.path == .pwritev2 { return SerialGroupWriter(signal: signal) }
    do {
      return try RingGroupWriter(inFlight: options.groupsInFlight, signal: signal)
    } catch {
      if options.path == .ioUring { throw error }
      return SerialGroupWriter(signal: signal)
    }
  }

  private static func openDirectory(_ path: String) throws(WALError) -> Int32 {
    var made = false
    if mkdir(path, 0o700) == 0 {
      made = true
    } else if errno != EEXIST {
      throw .failed("mkdir", path, errno)
    }
    let descriptor = nt_openat(AT_FDCWD, path, O_RDONLY | O_DIRECTORY, 0)
    if descriptor < 0 { throw .failed("open", path, -descriptor) }
    guard made else { return descriptor }
    // The new name lives in the parent.
    let parent = nt_openat(descriptor, "..", O_RDONLY | O_DIRECTORY, 0)
    let code = parent < 0 ? parent : nt_fsync(parent)
    if parent >= 0 { Glibc.close(parent) }
    if code < 0 {
      Glibc.close(descriptor)
      throw .failed("fsync of the parent", path, -code)
    }
    return descriptor
  }

  /// Whether the file system takes O_DIRECT, tried with a block of a scratch file. A full disk is no reason to refuse:
  /// the log may have all the files it needs.
  private static func takesDirect(_ directory: Int32, _ path: String) throws(WALError) -> Bool {
    let name = fillName(UInt64.max)
    let descriptor = nt_openat(directory, name, O_RDWR | O_CREAT | O_TRUNC | NT_O_DIRECT, 0o600)
    if [-EINVAL, -EOPNOTSUPP, -ENOSPC, -EDQUOT].contains(descriptor) {
      _ = nt_unlinkat(directory, name)
      return false
    }
    if descriptor < 0 { throw .failed("create", "\(path)/\(name)", -descriptor) }
    let block = UnsafeMutableRawBufferPointer.allocate(byteCount: blockSize, alignment: blockSize)
    block.initializeMemory(as: UInt8.self, repeating: 0)
    defer {
      block.deallocate()
      Glibc.close(descriptor)
      _ = nt_unlinkat(directory, name)
    }
    guard let base = block.baseAddress else { return false }
    let written = nt_pwrite_dsync(descriptor, base, blockSize, 0)
    // Any other failure will meet the log's own writes, which know how to report it.
    return written != -Int(EINVAL) && written != -Int(EOPNOTSUPP)
  }

  private func path(_ name: String) -> String { "\(directory)/\(name)" }

  private func check(_ operation: String, _ name: String, _ code: Int32) throws(WALError) {
    if code < 0 { throw .failed(operation, path(name), -code) }
  }

  package func list() throws(WALError) -> [String] {
    // A descriptor of its own: reading moves its position, closedir closes it.
    let descriptor = nt_openat(directoryDescriptor, ".", O_RDONLY | O_DIRECTORY, 0)
    try check("open", ".", descriptor)
    guard let stream = fdopendir(descriptor) else {
      let code = errno
      Glibc.close(descriptor)
      throw .failed("opendir", directory, code)
    }
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
      if name != "." && name != ".." { names.append(name) }
    }
  }

  package func create(_ name: String) throws(WALError) -> LogFile {
    let descriptor = nt_openat(directoryDescriptor, name, O_RDWR | O_CREAT | O_EXCL, 0o600)
    try check("create", name, descriptor)
    return LogFile(descriptor: descriptor, name: name)
  }

  package func open(_ name: String) throws(WALError) -> LogFile {
    let descriptor = nt_openat(directoryDescriptor, name, O_RDWR, 0)
    try check("open", name, descriptor)
    return LogFile(descriptor: descriptor, name: name)
  }

  package func openForGroups(_ name: String) throws(WALError) -> LogFile {
    let descriptor = nt_openat(directoryDescriptor, name, O_RDWR | (direct ? NT_O_DIRECT : 0), 0)
    try check("open", name, descriptor)
    return LogFile(descriptor: descriptor, name: name)
  }

  package func close(_ file: LogFile) { Glibc.close(file.descriptor) }

  package func size(_ file: LogFile) throws(WALError) -> UInt64 {
    let size = nt_file_size(file.descriptor)
    if size < 0 { throw .failed("stat", path(file.name), Int32(-size)) }
    return UInt64(size)
  }

  package func reserve(_ file: LogFile, _ size: UInt64) throws(WALError) {
    try check("reserve", file.name, nt_reserve(file.descriptor, Int64(clamping: size)))
  }

  package func truncate(_ file: LogFile, to size: UInt64) throws(WALError) {
    if ftruncate(file.descriptor, off_t(clamping: size)) != 0 { throw .failed("truncate", path(file.name), errno) }
  }

  package func read(
    _ file: LogFile, into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64
  ) throws(WALError) -> Int {
    guard let base = buffer.baseAddress, offset <= UInt64(Int64.max) - UInt64(buffer.count) else { return 0 }
    var done = 0
    while done < buffer.count {
      let n = nt_pread(file.descriptor, base + done, buffer.count - done, Int64(offset) + Int64(done))
      if n < 0 { throw .failed("read", path(file.name), Int32(-n)) }
      if n == 0 { break }
      done += n
    }
    return done
  }

  package func nextData(_ file: LogFile, from offset: UInt64) -> UInt64 {
    UInt64(clamping: nt_next_data(file.descriptor, Int64(clamping: offset)))
  }

  package func write(_ file: LogFile, _ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(WALError) {
    guard let base = bytes.baseAddress else { return }
    let written = nt_pwrite(file.descriptor, base, bytes.count, Int64(clamping: offset))
    try checkWrite(file, offset, bytes.count, written)
  }

  package func writeDurable(_ file: LogFile, _ bytes: UnsafeRawBufferPointer, at offset: UInt64) throws(WALError) {
    guard let base = bytes.baseAddress else { return }
    let written = nt_pwrite_dsync(file.descriptor, base, bytes.count, Int64(clamping: offset))
    try checkWrite(file, offset, bytes.count, written)
  }

  private func checkWrite(_ file: LogFile, _ offset: UInt64, _ wanted: Int, _ written: Int) throws(WALError) {
    if written < 0 { throw .failed("write", path(file.name), Int32(-written)) }
    if written != wanted {
      throw .shortWrite(file: path(file.name), offset: offset, wanted: wanted, written: written)
    }
  }

  package func sync(_ file: LogFile) throws(WALError) { try check("fsync", file.name, nt_fsync(file.descriptor)) }

  package func rename(_ from: String, to: String) throws(WALError) {
    try check("rename", from, nt_renameat(directoryDescriptor, from, to))
  }

  package func remove(_ name: String) throws(WALError) {
    try check("unlink", name, nt_unlinkat(directoryDescriptor, name))
  }

  package func syncDirectory() throws(WALError) {
    let code = nt_fsync(directoryDescriptor)
    if code < 0 { throw .failed("fsync of the directory", directory, -code) }
  }

  package func adopt(buffers: [UnsafeMutableRawBufferPointer]) { writer.adopt(buffers: buffers) }

  package func beginWrite(
    _ file: LogFile, _ bytes: UnsafeRawBufferPointer, at offset: UInt64, slot: Int
  ) throws(WALError) {
    try writer.begin(file, bytes, at: offset, slot: slot)
  }

  package func takeCompletion(wait: Bool) throws(WALError) -> WriteCompletion? { try writer.take(wait: wait) }

  package func clearSignal() { nt_signal_clear(signal) }

  package func shutdown() { writer.shutdown() }
}
