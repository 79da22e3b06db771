// A script, read from a file and replayed: what was expected, what came out, and how well they agree.

package struct ScriptReplay {
  package let kind: ScriptKind
  /// The script with the actual output in place of the expected one: a `diff` shows what differs.
  package let actual: String
  package let score: ScriptScore

  package init(file: String) throws(ScriptError) { self.init(text: try readFile(file)) }

  package init(text: String) {
    var script = Script(text)
    kind = ScriptKind(of: script.blocks)
    let rig: any ScriptRig =
      switch kind {
      case .interaction: InteractionRig()
      case .configChange: ConfigChangeRig()
      case .quorum: QuorumRig()
      }
    for i in script.blocks.indices {
      var output = rig.run(script.blocks[i])
      if !output.isEmpty, !output.hasSuffix("\n") { output += "\n" }
      script.blocks[i].actual = output
    }
    actual = script.text
    score = ScriptScore(script.blocks)
  }
}

/// Told from the first command.
package enum ScriptKind: Sendable {
  case interaction, configChange, quorum

  init(of blocks: [Script.Block]) {
    switch blocks.first?.line.command {
    case "committed", "vote": self = .quorum
    case "simple", "enter-joint", "leave-joint": self = .configChange
    default: self = .interaction
    }
  }
}

protocol ScriptRig {
  /// Runs one command; what it says, in lines.
  func run(_ block: Script.Block) -> String
}

/// How many commands gave what was expected.
package struct ScriptScore: Sendable {
  package private(set) var commands = 0
  /// To the letter.
  package private(set) var verbatim = 0
  /// But for lines that only inform: what the cluster did is the same.
  package private(set) var structural = 0

  init(_ blocks: [Script.Block]) {
    for block in blocks {
      commands += 1
      if block.expected == block.actual { verbatim += 1 }
      if Self.structure(block.expected) == Self.structure(block.actual) { structural += 1 }
    }
  }

  private static func structure(_ output: String) -> [Substring] {
    let lines = output.split(separator: "\n").filter { line in
      let text = line.drop { $0 == " " }
      return !text.hasPrefix("INFO ") && !text.hasPrefix("DEBUG ")
    }
    // Said where there is no output, which depends on the log level.
    return lines == ["ok"] ? [] : lines
  }
}
