// States of a store, each kept once: revision, compaction, the newest version of each key with those behind it, the leases.
//
// A version knows the one that it replaced, and equal versions have one number; a state is then one row of words:
//
//   word 0              revision << 32 | compacted
//   then K / 2 words    number + 1 of each key's newest version, two to a word; 0 for none
//   then L words        for each lease 0 while there is none, else 1 + the time before which it can't run out

struct StoreStates {
  /// One version of a key; `mod` is where it was made. A deletion has version 0.
  struct Version {
    var older: Int32?
    var value: Int32
    var create: Int64
    var mod: Int64
    var version: Int64
    var lease: Int?

    var isDeletion: Bool { version == 0 }
  }

  let keyCount: Int
  let leaseCount: Int
  private var rows: RowTable
  private var versionRows = RowTable(width: 4)

  init(keyCount: Int, leaseCount: Int) {
    self.keyCount = keyCount
    self.leaseCount = leaseCount
    rows = RowTable(width: 1 + (keyCount + 1) / 2 + leaseCount)
  }

  var byteCount: Int { rows.byteCount + versionRows.byteCount }
  var width: Int { rows.width }

  mutating func intern(_ draft: StoreDraft) -> StateID { rows.insert(draft.row).number }

  func load(_ state: StateID, into draft: inout StoreDraft) { rows.copy(state, into: &draft.row) }

  func revision(of state: StateID) -> Int64 { Int64(rows.word(0, of: state) >> 32) }

  // MARK: Versions

  mutating func number(_ version: Version) -> Int32 {
    let row = [
      UInt64(UInt32(bitPattern: version.older ?? -1)) << 32 | UInt64(UInt32(bitPattern: version.value)),
      UInt64(bitPattern: version.create) << 32 | UInt64(bitPattern: version.mod),
      UInt64(bitPattern: version.version),
      UInt64(bitPattern: Int64(version.lease ?? -1)),
    ]
    return versionRows.insert(row).number
  }

  /// The version without those that no read at `revision` or later can see; nil if nothing is left to see.
  mutating func cut(_ number: Int32, at revision: Int64) -> Int32? {
    var kept: [Version] = []
    var next: Int32? = number
    while let at = next {
      var version = self.version(at)
      next = version.older
      if version.mod <= revision {
        if version.isDeletion { break }
        if version.older == nil, kept.isEmpty { return number }
        version.older = nil
        next = nil
      }
      kept.append(version)
    }
    var result: Int32?
    for var version in kept.reversed() {
      version.older = result
      result = self.number(version)
    }
    return result
  }

  func version(_ number: Int32) -> Version {
    let first = versionRows.word(0, of: number)
    let second = versionRows.word(1, of: number)
    let older = Int32(truncatingIfNeeded: first >> 32)
    let lease = Int(Int64(bitPattern: versionRows.word(3, of: number)))
    return Version(
      older: older < 0 ? nil : older, value: Int32(truncatingIfNeeded: first & 0xFFFF_FFFF),
      create: Int64(second >> 32), mod: Int64(second & 0xFFFF_FFFF),
      version: Int64(bitPattern: versionRows.word(2, of: number)), lease: lease < 0 ? nil : lease)
  }
}

/// A state that is being changed.
struct StoreDraft {
  var row: [UInt64]
  let keyCount: Int

  init(_ states: StoreStates) {
    row = [UInt64](repeating: 0, count: states.width)
    keyCount = states.keyCount
  }

  var revision: Int64 {
    get { Int64(row[0] >> 32) }
    set { row[0] = UInt64(bitPattern: newValue) << 32 | row[0] & 0xFFFF_FFFF }
  }

  var compacted: Int64 {
    get { Int64(row[0] & 0xFFFF_FFFF) }
    set { row[0] = row[0] & ~0xFFFF_FFFF | UInt64(bitPattern: newValue) & 0xFFFF_FFFF }
  }

  /// The number of the key's newest version.
  subscript(key: Int) -> Int32? {
    get {
      let half = (row[1 + key / 2] >> (UInt64(key & 1) * 32)) & 0xFFFF_FFFF
      return half == 0 ? nil : Int32(truncatingIfNeeded: half) - 1
    }
    set {
      let shift = UInt64(key & 1) * 32
      let half = newValue.map { UInt64(UInt32(bitPattern: $0 + 1)) } ?? 0
      row[1 + key / 2] = row[1 + key / 2] & ~(0xFFFF_FFFF << shift) | half << shift
    }
  }

  /// The time before which the lease can't run out; nil where there is none.
  subscript(lease lease: Int) -> Int64? {
    get {
      let word = row[1 + (keyCount + 1) / 2 + lease]
      return word == 0 ? nil : Int64(word - 1)
    }
    set { row[1 + (keyCount + 1) / 2 + lease] = newValue.map { UInt64(max(0, $0)) + 1 } ?? 0 }
  }

  /// A lease that may run out by now may run out at any time.
  mutating func forgetTimes(until time_ns: Int64) {
    for word in (1 + (keyCount + 1) / 2)..<row.count where row[word] > 1 && row[word] - 1 <= UInt64(max(0, time_ns)) {
      row[word] = 1
    }
  }
}
