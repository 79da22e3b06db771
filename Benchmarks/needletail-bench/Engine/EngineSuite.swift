// Runs workload W: for each repetition each test on every engine in turn, so that whatever disturbs the machine disturbs all
// of them. A checksum that differs between engines or repetitions is an error: somebody did other work.
import Foundation

enum EngineName: String, CaseIterable {
  case backend, lmdb
  case lmdbWriteMap = "lmdb-writemap"
  case rocksdb

  func makeSlot(n: UInt64, directory: String, keeps: Bool) -> any EngineSlot {
    let folder = directory + "/" + rawValue
    return switch self {
    case .backend: Slot<BackendEngine>(n: n, folder: folder, keeps: keeps)
    case .lmdb: Slot<LMDBEngine>(n: n, folder: folder, keeps: keeps)
    case .lmdbWriteMap: Slot<LMDBWriteMapEngine>(n: n, folder: folder, keeps: keeps)
    case .rocksdb: Slot<RocksDBEngine>(n: n, folder: folder, keeps: keeps)
    }
  }
}

/// An engine's name, its folder and its loaded store, with the engine's type hidden: the timed loops below it are generic.
protocol EngineSlot: AnyObject {
  var configuration: String { get }
  /// Loads afresh and keeps the store for the tests that follow.
  func load() throws -> Measurement
  func bulk() throws -> Measurement
  func write(_ test: WriteTest, seed: UInt64) throws -> Measurement
  /// `thin`: one in so many of the test's operations.
  func read(_ test: ReadTest, threads: Int, thin: Int, seed: UInt64, zipf: Zipf?) throws -> [Measurement]
  /// Runs `body` while a thread overwrites random records at full speed; returns how many it wrote as well.
  func besideWriter<R>(_ body: () throws -> R) throws -> (result: R, written: UInt64)
  var fileBytes: Int { get }
  func close()
}

final class Slot<Store: Engine>: EngineSlot {
  private let n: UInt64
  private let folder: String
  /// What an earlier run loaded is opened as it is.
  private let keeps: Bool
  private var store: Store?

  init(n: UInt64, folder: String, keeps: Bool) {
    self.n = n
    self.folder = folder
    self.keeps = keeps
  }

  var configuration: String { Store.configuration }

  private func fresh(_ name: String) throws -> Store {
    let path = folder + "/" + name
    try? FileManager.default.removeItem(atPath: path)
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    return try Store(directory: path, count: n)
  }

  private func opened() throws -> Store {
    guard let store else { throw BenchError("no store was loaded") }
    return store
  }

  /// Files of the writing tests are a few times their data.
  private func warmMemory() { WarmMemory.touch(bytes: max(256 << 20, Int(n) * Record.length * 4)) }

  func load() throws -> Measurement {
    close()
    let loaded = folder + "/loaded-\(Record.shape.rawValue)-\(n)"
    if keeps, FileManager.default.fileExists(atPath: loaded) {
      store = try Store(directory: folder + "/random", count: n)
      return Measurement()
    }
    let store = try fresh("random")
    warmMemory()
    self.store = store
    let result = try WriteTest.load.run(store, n: n, seed: 0)
    try store.settle()
    if keeps, !FileManager.default.createFile(atPath: loaded, contents: nil) {
      throw BenchError("cannot write \(loaded)")
    }
    return result
  }

  func bulk() throws -> Measurement {
    let sorted = try fresh("sorted")
    defer {
      sorted.close()
      try? FileManager.default.removeItem(atPath: folder + "/sorted")
    }
    warmMemory()
    return try WriteTest.bulk.run(sorted, n: n, seed: 0)
  }

  func write(_ test: WriteTest, seed: UInt64) throws -> Measurement {
    let store = try opened()
    warmMemory()
    let result = try test.run(store, n: n, seed: seed)
    try store.settle()
    return result
  }

  func read(_ test: ReadTest, threads: Int, thin: Int, seed: UInt64, zipf: Zipf?) throws -> [Measurement] {
    let store = try opened()
    let n = n
    let line = StartingLine(threads)
    return try onThreads(threads) { thread in
      var reader: Store.Reader
      do { reader = try store.makeReader() } catch {
        line.wait()
        throw error
      }
      defer { reader.close() }
      // A twentieth of the work with other choices brings caches and tables to the state they stay in.
      let rounds = max(2, test.rounds(n) / thin)
      let warm = ReadPlan(n: n, rounds: max(1, rounds / 20), seed: ~seed, zipf: zipf)
      let warming = Result { try reader.measure(test, warm) }
      line.wait()
      _ = try warming.get()
      let plan = ReadPlan(n: n, rounds: rounds, seed: seed &+ UInt64(thread) &* 0x1_0000, zipf: zipf)
      return try reader.measure(test, plan)
    }
  }

  func besideWriter<R>(_ body: () throws -> R) throws -> (result: R, written: UInt64) {
    let store = try opened()
    let writer = BackgroundWriter(n: n) { try store.write($0, durable: false) }
    let result = Result { try body() }
    let written = try writer.stop()
    return (try result.get(), written)
  }

  /// Blocks the store's files occupy.
  var fileBytes: Int {
    guard let walk = FileManager.default.enumerator(atPath: folder + "/random") else { return 0 }
    var total = 0
    for case let name as String in walk {
      var status = stat()
      if stat(folder + "/random/" + name, &status) == 0 { total += Int(status.st_blocks) * 512 }
    }
    return total
  }

  func close() {
    store?.close()
    store = nil
  }
}

struct EngineSuite {
  var n: UInt64
  var threads: [Int]
  var reads: [ReadTest]
  var writes: [WriteTest]
  var engines: [EngineName]
  var repetitions: Int
  var hasWriter: Bool
  var directory: String
  /// Stores stay in the directory, and are opened where they are there.
  var keeps = false
  var thin = 1
  let output: Output

  private var checksums: [String: (engine: String, checksum: UInt64)] = [:]
  private var rates: [String: [EngineName: [Double]]] = [:]
  private var order: [String] = []

  init(
    n: UInt64, threads: [Int], reads: [ReadTest], writes: [WriteTest], engines: [EngineName], repetitions: Int,
    hasWriter: Bool, directory: String, output: Output
  ) {
    self.n = n
    self.threads = threads
    self.reads = reads
    self.writes = writes
    self.engines = engines
    self.repetitions = repetitions
    self.hasWriter = hasWriter
    self.directory = directory
    self.output = output
  }

  mutating func run() throws {
    let zipf = reads.contains(.zipf) ? Zipf(count: n, theta: 0.99) : nil
    let slots = engines.map { ($0, $0.makeSlot(n: n, directory: directory, keeps: keeps)) }
    defer { for (_, slot) in slots { slot.close() } }
    let needsStore = !reads.isEmpty || writes.contains { $0 != .bulk }
    for repetition in 1...repetitions {
      let reloads = writes.contains(.load) || (repetition == 1 && needsStore)
      for (name, slot) in slots where reloads {
        let result = try slot.load()
        if writes.contains(.load) { try report(.load, name, slot, repetition, result) }
      }
      for (name, slot) in slots where writes.contains(.bulk) {
        try report(.bulk, name, slot, repetition, try slot.bulk())
      }
      for test in reads {
        for threadCount in threads {
          for (name, slot) in slots {
            let seed = Self.seed(test.rawValue)
            let parts = try slot.read(test, threads: threadCount, thin: thin, seed: seed, zipf: zipf)
            try report(
              test.rawValue, unit: test.unit, name, slot, threadCount, repetition, parts, fileBytes: nil)
            if hasWriter { try readBesideWriter(test, name, slot, threadCount, repetition, zipf) }
          }
        }
      }
      for test in writes where !test.isLoad {
        for (name, slot) in slots {
          try report(test, name, slot, repetition, try slot.write(test, seed: Self.seed(test.rawValue)))
        }
      }
    }
    printTable()
  }

  /// Overwrites store the value that was there: the checksum is the same as without them.
  private mutating func readBesideWriter(
    _ test: ReadTest, _ name: EngineName, _ slot: any EngineSlot, _ threads: Int, _ repetition: Int, _ zipf: Zipf?
  ) throws {
    let seed = Self.seed(test.rawValue)
    let (parts, written) = try slot.besideWriter {
      try slot.read(test, threads: threads, thin: thin, seed: seed, zipf: zipf)
    }
    try report(
      test.rawValue + "+writer", unit: test.unit, name, slot, threads, repetition, parts, fileBytes: nil,
      written: written)
  }

  /// The same choices for every engine and every repetition.
  private static func seed(_ test: String) -> UInt64 { test.utf8.reduce(7) { mix64($0 ^ UInt64($1)) } }

  private mutating func report(
    _ test: WriteTest, _ name: EngineName, _ slot: any EngineSlot, _ repetition: Int, _ result: Measurement
  ) throws {
    try report(
      test.rawValue, unit: test.unit, name, slot, 1, repetition, [result],
      fileBytes: test == .load ? slot.fileBytes : nil)
  }

  private mutating func report(
    _ test: String, unit: String, _ name: EngineName, _ slot: any EngineSlot, _ threads: Int, _ repetition: Int,
    _ parts: [Measurement], fileBytes: Int?, written: UInt64? = nil
  ) throws {
    var latencies = makeLatencies()
    for part in parts { latencies.add(part.latencies) }
    let rate = parts.reduce(0) { $0 + $1.rate }
    let checksum = parts.reduce(0) { $0 &+ $1.checksum }

    var line = JSONLine()
    line.add("suite", "engine")
    line.add("engine", name.rawValue)
    line.add("test", test)
    line.add("shape", Record.shape.rawValue)
    line.add("n", Int(n))
    line.add("threads", threads)
    line.add("rep", repetition)
    line.add("ops_per_s", figure: rate)
    line.add("unit", unit)
    line.add("p50_ns", Int(latencies.valueAtPercentile(50)))
    line.add("p99_ns", Int(latencies.valueAtPercentile(99)))
    line.add("p999_ns", Int(latencies.valueAtPercentile(99.9)))
    line.add("checksum", hex: checksum)
    if let fileBytes { line.add("file_bytes", fileBytes) }
    if let written { line.add("written_beside", Int(written)) }
    line.add("config", slot.configuration)
    try output.result(line)

    let id = "\(test) × \(threads)"
    output.progress(
      padded("\(repetition)/\(repetitions) \(id)", -18) + padded(name.rawValue, -14) + padded(readable(rate), 10)
        + " \(unit)/s   p50 \(latencies.valueAtPercentile(50)) ns   p99 \(latencies.valueAtPercentile(99)) ns")
    if rates[id] == nil { order.append(id) }
    rates[id, default: [:]][name, default: []].append(rate)
    guard let known = checksums[id] else {
      checksums[id] = (name.rawValue, checksum)
      return
    }
    if known.checksum != checksum {
      throw BenchError(
        "checksum of \(id) differs: \(known.engine) \(known.checksum), \(name.rawValue) \(checksum) (repetition \(repetition))"
      )
    }
  }

  /// Medians, and their ratio to LMDB's (to the first engine's when LMDB did not run).
  private func printTable() {
    guard let base = engines.contains(.lmdb) ? EngineName.lmdb : engines.first else { return }
    output.progress("")
    output.progress(
      "\(Record.shape.rawValue), n = \(n), median of \(repetitions), operations/s and ratio to \(base.rawValue)")
    output.progress(padded("", -14) + engines.map { padded($0.rawValue, 20) }.joined())
    for id in order {
      let reference = median(rates[id]?[base] ?? [])
      let cells = engines.map { engine -> String in
        let value = median(rates[id]?[engine] ?? [])
        return padded("\(readable(value))  \(JSONLine.figure((value / reference * 100).rounded() / 100))×", 20)
      }
      output.progress(padded(id, -14) + cells.joined())
    }
  }
}
