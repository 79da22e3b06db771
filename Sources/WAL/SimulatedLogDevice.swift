import Glibc

/// A disk in memory that loses what was not made durable.
///
/// It keeps, for every file, what is durable and what is merely written, and for the directory likewise; group writes
/// stay in flight until the test lets them complete, in any order. `crashImage` gives the disk a power cut could leave:
/// any choice of 512-byte sectors of the writes that were not durable, any choice of the names. Every operation is
/// counted and can be made to fail, to write short, or to be the last one before the crash.
///
/// `@unchecked Sendable`: used by one thread; logs over it run without a helper thread.
package final class SimulatedLogDevice: LogDevice, @unchecked Sendable {
  package static let sectorSize = 512

  /// What happens at one operation.
  package enum Fault: Sendable, Equatable {
    case error(Int32)
    /// Half of the write is done, and reported so.
    case short
    /// This and all later operations fail: the machine is off.
    case powerCut
  }

  /// Something that is not durable, offered to the choice of `crashImage`.
  package enum Volatile: Sendable {
    /// The n-th directory operation since the last directory sync.
    case name(Int)
    /// A sector of the n-th write that is not durable; group writes in flight count first, in order of submission.
    case sector(write: Int, isInFlight: Bool, sector: Int)
    /// The size of a file.
    case size
  }

  struct Write {
    var offset: Int
    var bytes: [UInt8]
  }

  final class File {
    var durable: [UInt8] = []
    var visible: [UInt8] = []
    /// Written since the last sync, in order.
    var pending: [Write] = []

    func change(_ write: Write) {
      SimulatedLogDevice.put(write, into: &visible)
    }
  }

  struct GroupWrite {
    var slot: Int
    var file: Int
    var write: Write
    /// Memory the log promised not to touch before completion; compared then.
    var source: UnsafeRawBufferPointer
    var result: Int?
  }

  private enum NameChange {
    case link(String, Int)
    case unlink(String)
    case rename(String, String)
  }

  package var summary: String { "simulated" }
  package var completionDescriptor: Int32 { -1 }
  package let maximumInFlight: Int
  private var files: [Int: File] = [:]
  private var names: [String: Int] = [:]
  private var durableNames: [String: Int] = [:]
  private var nameChanges: [NameChange] = []
  private var handles: [Int32: Int] = [:]
  private var nextFile = 1
  private var nextHandle: Int32 = 1
  private var groups: [GroupWrite] = []
  private var isOff = false

  /// Operations so far.
  package private(set) var operations = 0
  package private(set) var bytesRead = 0
  /// Whether the device says where holes are. Without, every block is asked for.
  package var tellsHoles = true
  /// Their names, when `records` is set.
  package private(set) var history: [String] = []
  package var records = false
  /// Faults by operation number.
  package var faults: [Int: Fault] = [:]
  /// Bytes of disk: creating, reserving and growing beyond fails with ENOSPC.
  package var capacity = Int.max
  /// Chooses which of n writes in flight completes next; the oldest by default.
  package var chooseCompletion: (Int) -> Int = { _ in 0 }
  /// Whether a completion is there for a caller that does not wait; always by default.
  package var isEager: () -> Bool = { true }
  /// Set when a buffer changed while its write was in flight.
  package private(set) var sawChangedBuffer = false

  package init(maximumInFlight: Int = 4) { self.maximumInFlight = maximumInFlight }

  // MARK: Faults

  /// Counts an operation; throws if it is to fail. Returns true if it is to be short.
  private func step(_ operation: String, _ name: String, canBeShort: Bool = false) throws(WALError) -> Bool {
    if isOff { throw .failed(operation, name, 5) }
    operations += 1
    if records { history.append("\(operation) \(name)") }
    switch faults[operations] {
    case nil: return false
    case .error(let code): throw .failed(operation, name, code)
    case .short where canBeShort: return true
    case .short: return false
    case .powerCut:
      isOff = true
      throw .failed(operation, name, 5)
    }
  }

  static func put(_ write: Write, into bytes: inout [UInt8]) {
    let end = write.offset + write.bytes.count
    if bytes.count < end { bytes += [UInt8](repeating: 0, count: end - bytes.count) }
    bytes.replaceSubrange(write.offset..<end, with: write.bytes)
  }

  private func file(_ handle: LogFile) throws(WALError) -> File {
    guard let number = handles[handle.descriptor], let file = files[number] else {
      throw .failed("use", handle.name, 9)
    }
    return file
  }

  private func checkSpace(_ operation: String, _ name: String, growing bytes: Int) throws(WALError) {
    guard bytes > 0, capacity < Int.max else { return }
    // A file without a name that is still open takes its space, too; tests stay below this subtlety.
    let used = Set(names.values).reduce(0) { $0 + (files[$1]?.visible.count ?? 0) }
    if used + bytes > capacity { throw .failed(operation, name, 28) }
  }

  // MARK: Names

  package func list() throws(WALError) -> [String] {
    _ = try step("list", ".")
    return Array(names.keys)
  }

  private func handle(_ number: Int, _ name: String) -> LogFile {
    defer { nextHandle += 1 }
    handles[nextHandle] = number
    return LogFile(descriptor: nextHandle, name: name)
  }

  package func create(_ name: String) throws(WALError) -> LogFile {
    _ = try step("create", name)
    if names[name] != nil { throw .failed("create", name, 17) }
    files[nextFile] = File()
    names[name] = nextFile
    nameChanges.append(.link(name, nextFile))
    nextFile += 1
    return handle(nextFile - 1, name)
  }

  package func open(_ name: String) throws(WALError) -> LogFile {
    _ = try step("open", name)
    guard let number = names[name] else { throw .failed("open", name, 2) }
    return handle(number, name)
  }

  package func openForGroups(_ name: String) throws(WALError) -> LogFile { try open(name) }

  package func close(_ file: LogFile) { handles[file.descriptor] = nil }

  package func rename(_ from: String, to: String) throws(WALError) {
    _ = try step("rename", "\(from) to \(to)")
    guard let number = names.removeValue(forKey: from) else { throw .failed("rename", from, 2) }
    names[to] = number
    nameChanges.append(.rename(from, to))
  }

  package func remove(_ name: String) throws(WALError) {
    _ = try step("remove", name)
    guard names.removeValue(forKey: name) != nil else { throw .failed("remove", name, 2) }
    nameChanges.append(.unlink(name))
  }

  package func syncDirectory() throws(WALError) {
    _ = try step("syncDirectory", ".")
    durableNames = names
    nameChanges = []
  }

  // MARK: Bytes

  package func size(_ handle: LogFile) throws(WALError) -> UInt64 {
    _ = try step("size", handle.name)
    return UInt64(try file(handle).visible.count)
  }

  package func reserve(_ handle: LogFile, _ size: UInt64) throws(WALError) {
    _ = try step("reserve", handle.name)
    let file = try file(handle)
    guard Int(size) > file.visible.count else { return }
    try checkSpace("reserve", handle.name, growing: Int(size) - file.visible.count)
    file.visible += [UInt8](repeating: 0, count: Int(size) - file.visible.count)
  }

  package func truncate(_ handle: LogFile, to size: UInt64) throws(WALError) {
    _ = try step("truncate", handle.name)
    let file = try file(handle)
    if Int(size) < file.visible.count { file.visible.removeLast(file.visible.count - Int(size)) }
  }

  package func read(
    _ handle: LogFile, into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64
  ) throws(WALError) -> Int {
    _ = try step("read", handle.name)
    let file = try file(handle)
    guard offset < UInt64(file.visible.count) else { return 0 }
    let start = Int(offset)
    let count = min(buffer.count, file.visible.count - start)
    bytesRead += count
    file.visible.withUnsafeBytes {
      buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: $0[start..<start + count]))
    }
    return count
  }

  /// Every zero is a hole here, as far as `tellsHoles` goes: whoever trusts holes meets as many as there can be.
  package func nextData(_ handle: LogFile, from offset: UInt64) -> UInt64 {
    guard tellsHoles else { return offset }
    guard let file = try? file(handle), offset < UInt64(file.visible.count) else { return .max }
    return file.visible[Int(offset)...].firstIndex { $0 != 0 }.map { UInt64($0) } ?? .max
  }

  /// Half of the bytes, in whole sectors.
  private static func half(_ bytes: [UInt8]) -> [UInt8] {
    Array(bytes.prefix(bytes.count / 2 / sectorSize * sectorSize))
  }

  package func write(
    _ handle: LogFile, _ bytes: UnsafeRawBufferPointer, at offset: UInt64
  ) throws(WALError) {
    try store("write", handle, bytes, offset, isDurable: false)
  }

  package func writeDurable(
    _ handle: LogFile, _ bytes: UnsafeRawBufferPointer, at offset: UInt64
  ) throws(WALError) {
    try store("writeDurable", handle, bytes, offset, isDurable: true)
  }

  private func store(
    _ operation: String, _ handle: LogFile, _ bytes: UnsafeRawBufferPointer, _ offset: UInt64, isDurable: Bool
  ) throws(WALError) {
    let file = try file(handle)
    var write = Write(offset: Int(offset), bytes: Array(bytes))
    try checkSpace(operation, handle.name, growing: write.offset + write.bytes.count - file.visible.count)
    let isShort: Bool
    do throws(WALError) {
      isShort = try step(operation, handle.name, canBeShort: true)
    } catch {
      // A write that failed may have reached the disk all the same, in part or whole.
      file.pending.append(write)
      throw error
    }
    if isShort { write.bytes = Self.half(write.bytes) }
    file.change(write)
    file.pending.append(write)
    if isShort {
      throw .shortWrite(file: handle.name, offset: offset, wanted: bytes.count, written: write.bytes.count)
    }
    guard isDurable else { return }
    file.pending.removeLast()
    // O_DSYNC makes this range durable, and the size needed to read it.
    Self.put(write, into: &file.durable)
  }

  package func sync(_ handle: LogFile) throws(WALError) {
    let file = try file(handle)
    _ = try step("sync", handle.name)
    file.durable = file.visible
    file.pending = []
  }

  // MARK: Groups

  package func adopt(buffers: [UnsafeMutableRawBufferPointer]) {}
  package func clearSignal() {}

  package func beginWrite(
    _ handle: LogFile, _ bytes: UnsafeRawBufferPointer, at offset: UInt64, slot: Int
  ) throws(WALError) {
    guard let number = handles[handle.descriptor], let file = files[number] else {
      throw .failed("beginWrite", handle.name, 9)
    }
    var group = GroupWrite(
      slot: slot, file: number, write: Write(offset: Int(offset), bytes: Array(bytes)), source: bytes)
    do throws(WALError) {
      if try step("beginWrite", handle.name, canBeShort: true) {
        group.write.bytes = Self.half(group.write.bytes)
        group.result = group.write.bytes.count
      }
    } catch {
      // The kernel never took it, or took it with the lights going out.
      if isOff { file.pending.append(group.write) }
      throw error
    }
    groups.append(group)
  }

  package func takeCompletion(wait: Bool) throws(WALError) -> WriteCompletion? {
    if isOff { throw .failed("takeCompletion", "the log", 5) }
    guard !groups.isEmpty, wait || isEager() else { return nil }
    let group = groups.remove(at: chooseCompletion(groups.count) % groups.count)
    guard let file = files[group.file] else { return nil }
    if group.result == nil, !Self.isEqual(group.source, group.write.bytes) { sawChangedBuffer = true }
    let isShort: Bool
    do throws(WALError) {
      isShort = try step("complete", "slot \(group.slot)", canBeShort: true)
    } catch {
      file.pending.append(group.write)
      // A failed write is a completion with an error; only the power cut ends everything.
      if case .error(let code) = faults[operations] { return WriteCompletion(slot: group.slot, result: -Int(code)) }
      throw error
    }
    file.change(group.write)
    guard !isShort, group.result == nil else {
      file.pending.append(group.write)
      return WriteCompletion(slot: group.slot, result: group.result ?? Self.half(group.write.bytes).count)
    }
    Self.put(group.write, into: &file.durable)
    return WriteCompletion(slot: group.slot, result: group.write.bytes.count)
  }

  private static func isEqual(_ source: UnsafeRawBufferPointer, _ bytes: [UInt8]) -> Bool {
    guard let base = source.baseAddress, source.count == bytes.count else { return source.count == bytes.count }
    return bytes.withUnsafeBytes { other in other.baseAddress.map { memcmp(base, $0, source.count) == 0 } ?? true }
  }

  package func shutdown() {}

  // MARK: Crashing

  /// The process dies, the machine goes on: all that was handed over is visible, and still not durable.
  package func killProcess() {
    for group in groups {
      files[group.file]?.change(group.write)
      files[group.file]?.pending.append(group.write)
    }
    groups = []
    handles = [:]
    isOff = false
    faults = [:]
  }

  /// The disk after a power cut now: durable things, and of the rest what `keeps` chooses. The device itself goes on.
  package func crashImage(keeps: (Volatile) -> Bool) -> SimulatedLogDevice {
    let image = SimulatedLogDevice(maximumInFlight: maximumInFlight)
    image.nextFile = nextFile
    var kept = durableNames
    for (i, change) in nameChanges.enumerated() where keeps(.name(i)) {
      switch change {
      case .link(let name, let number): kept[name] = number
      case .unlink(let name): kept[name] = nil
      case .rename(let from, let to):
        if let number = kept.removeValue(forKey: from) { kept[to] = number }
      }
    }
    image.names = kept
    image.durableNames = kept
    var write = 0
    for group in groups { tear(group.write, into: group.file, &write, isInFlight: true, image, keeps) }
    for (number, file) in files.sorted(by: { $0.key < $1.key }) {
      for pending in file.pending { tear(pending, into: number, &write, isInFlight: false, image, keeps) }
      let target = image.imageFile(number, durable: file.durable)
      if target.durable.count != file.visible.count, keeps(.size) {
        let excess = target.durable.count - file.visible.count
        if excess > 0 { target.durable.removeLast(excess) }
        if excess < 0 { target.durable += [UInt8](repeating: 0, count: -excess) }
      }
      target.visible = target.durable
    }
    return image
  }

  private func imageFile(_ number: Int, durable: [UInt8]) -> File {
    if let file = files[number] { return file }
    let file = File()
    file.durable = durable
    files[number] = file
    return file
  }

  private func tear(
    _ write: Write, into number: Int, _ count: inout Int, isInFlight: Bool, _ image: SimulatedLogDevice,
    _ keeps: (Volatile) -> Bool
  ) {
    let target = image.imageFile(number, durable: files[number]?.durable ?? [])
    for (sector, start) in stride(from: 0, to: write.bytes.count, by: Self.sectorSize).enumerated() {
      guard keeps(.sector(write: count, isInFlight: isInFlight, sector: sector)) else { continue }
      let end = min(start + Self.sectorSize, write.bytes.count)
      Self.put(Write(offset: write.offset + start, bytes: Array(write.bytes[start..<end])), into: &target.durable)
    }
    count += 1
  }

  /// Group writes in flight.
  package var inFlight: Int { groups.count }

  /// The bytes of a file, for tests that look or that damage them.
  package func contents(_ name: String) -> [UInt8]? { names[name].flatMap { files[$0]?.visible } }

  package func overwrite(_ name: String, _ bytes: [UInt8]) {
    guard let file = names[name].flatMap({ files[$0] }) else { return }
    file.visible = bytes
    file.durable = bytes
    file.pending = []
  }

  /// Names that are visible now.
  package var fileNames: [String] { names.keys.sorted() }

  /// Takes a name away behind the log's back.
  package func lose(_ name: String) {
    names[name] = nil
    durableNames[name] = nil
  }
}
