// All flags of the server in their groups: etcd's names, old and new, and this server's own.

struct FlagTable: Sendable {
  struct Group: Sendable {
    let title: String
    let flags: [Flag]
  }

  let groups: [Group]
  let flags: [Flag]
  private let byName: [String: Int]
  private let byVariable: [String: Int]

  init(_ groups: [Group]) {
    self.groups = groups
    let flags = groups.flatMap(\.flags)
    var byName: [String: Int] = [:]
    var byVariable: [String: Int] = [:]
    for (index, flag) in flags.enumerated() {
      for name in [flag.name] + flag.aliases {
        byName[name] = index
        byVariable[Flag.variable(name)] = index
      }
    }
    self.flags = flags
    self.byName = byName
    self.byVariable = byVariable
  }

  static let server = FlagTable([member, clustering, security, auth, monitoring, logging, tuning, unsafe, own, past])

  /// By its name or one of its names in another release.
  func flag(_ name: String) -> Flag? { byName[name].map { flags[$0] } }

  func flag(variable: String) -> Flag? { byVariable[variable].map { flags[$0] } }

  /// The name that was probably meant, if there is one.
  func nearest(_ name: String) -> String? {
    guard name.count >= 3, name.count <= 64 else { return nil }
    let near = byName.keys.map { (distance: FlagTable.distance($0, name), name: $0) }.min { $0 < $1 }
    guard let near, near.distance <= max(1, name.count / 4) else { return nil }
    return near.name
  }

  /// Letters to add, drop or change.
  private static func distance(_ a: String, _ b: String) -> Int {
    let (a, b) = (Array(a.utf8), Array(b.utf8))
    var row = Array(0...b.count)
    for i in a.indices {
      var diagonal = row[0]
      row[0] = i + 1
      for j in b.indices {
        let changed = diagonal + (a[i] == b[j] ? 0 : 1)
        diagonal = row[j + 1]
        row[j + 1] = min(changed, diagonal + 1, row[j] + 1)
      }
    }
    return row[b.count]
  }

  static let usage = """
    Usage:

      needletail [flags]
        Start a server.

      needletail --version
        Show the versions.

      needletail -h | --help
        Show all flags.

      needletail --config-file FILE
        Take everything from a YAML file. Other flags and variables are then ignored, as etcd ignores them.

      needletail db COMMAND …
        Check, dump, back up, compact or restore database files; see needletail db --help.

      needletail wal COMMAND …
        Check a write-ahead log, or cut a corrupt one; see needletail wal --help.

    Each flag is also a variable: --data-dir is ETCD_DATA_DIR. The flag goes before the variable.

    """

  var help: String {
    var text = FlagTable.usage
    for group in groups {
      text += "\n\(group.title):\n"
      for flag in group.flags {
        text += "  --\(flag.name) '\(flag.standard)'\n    \(flag.help)\n"
        if !flag.aliases.isEmpty { text += "    Also --" + flag.aliases.joined(separator: ", --") + ".\n" }
        switch flag.meaning {
        case .used: break
        case .idle(let why): text += "    Accepted, without effect: \(why).\n"
        case .refused(let why): text += "    Not to be had: \(why).\n"
        }
      }
    }
    return text
  }
}
