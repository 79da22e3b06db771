// The format of scripts: a command, lines of input, `----`, and the expected output up to an empty line.
//
// Comments begin with `#`. A backslash continues the command on the next line. Output that holds empty lines stands
// between two pairs of `----`. Everything but the output is kept to the letter.

struct Script {
  struct Block {
    var line: CommandLine
    var input: String
    var expected: String
    var actual = ""
  }

  private enum Part {
    case text(String)
    case output(block: Int)
  }

  var blocks: [Block] = []
  private var parts: [Part] = []

  init(_ text: String) {
    var lines = text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
    // A file that ends with a newline has no last line after it.
    if lines.last == "" { lines.removeLast() }
    var at = 0
    var verbatim = ""
    func take() -> String {
      defer { at += 1 }
      return lines[at]
    }
    while at < lines.count {
      let first = take()
      verbatim += first + "\n"
      var command = first.trimmed
      // `subtest NAME` and `subtest end` only divide a file: they have neither input nor output.
      if command.isEmpty || command.hasPrefix("#") || CommandLine(command).command == "subtest" { continue }
      while command.hasSuffix("\\"), at < lines.count {
        let next = take()
        verbatim += next + "\n"
        command = String(command.dropLast()).trimmed + " " + next.trimmed
      }
      var input = ""
      var isSeparated = false
      while at < lines.count, !isSeparated {
        let line = take()
        verbatim += line + "\n"
        if line == "----" { isSeparated = true } else { input += line + "\n" }
      }
      guard isSeparated else { break }
      let expected = Self.takeOutput(lines, &at)
      blocks.append(Block(line: CommandLine(command), input: input.trimmed, expected: expected))
      parts += [.text(verbatim), .output(block: blocks.count - 1)]
      verbatim = ""
    }
    parts.append(.text(verbatim))
  }

  /// Leaves `at` at what follows the output: the empty line that ends it, if there is one.
  private static func takeOutput(_ lines: [String], _ at: inout Int) -> String {
    var output = ""
    if at < lines.count, lines[at] == "----" {
      at += 1
      while at < lines.count {
        if lines[at] == "----", at + 1 < lines.count, lines[at + 1] == "----" {
          at += 2
          break
        }
        output += lines[at] + "\n"
        at += 1
      }
      return output
    }
    while at < lines.count, !lines[at].trimmed.isEmpty {
      output += lines[at] + "\n"
      at += 1
    }
    return output
  }

  /// The script with the actual output.
  var text: String {
    var text = ""
    for part in parts {
      switch part {
      case .text(let verbatim): text += verbatim
      case .output(let block):
        let output = blocks[block].actual
        let hasEmptyLine = output.split(separator: "\n", omittingEmptySubsequences: false).dropLast().contains {
          $0.allSatisfy { $0 == " " || $0 == "\t" }
        }
        text += hasEmptyLine ? "----\n\(output)----\n----\n" : output
      }
    }
    return text
  }
}

/// `command key key=value key=(value, value)`.
struct CommandLine {
  struct Argument {
    var key: String
    var values: [String]
  }

  var command = ""
  var arguments: [Argument] = []

  init(_ line: String) {
    var rest = Substring(line)
    while let field = Self.nextField(&rest) {
      if command.isEmpty {
        command = field
        continue
      }
      guard let equals = field.firstIndex(of: "=") else {
        arguments.append(Argument(key: field, values: []))
        continue
      }
      let value = field[field.index(after: equals)...]
      let values =
        value.hasPrefix("(") && value.hasSuffix(")")
        ? value.dropFirst().dropLast().split(separator: ",").map { String($0).trimmed } : [String(value)]
      arguments.append(Argument(key: String(field[..<equals]), values: values))
    }
  }

  /// Up to a space that is not within brackets.
  private static func nextField(_ rest: inout Substring) -> String? {
    rest = rest.drop { $0 == " " || $0 == "\t" }
    if rest.isEmpty { return nil }
    var depth = 0
    let end =
      rest.firstIndex { character in
        if character == "(" { depth += 1 }
        if character == ")" { depth -= 1 }
        return depth <= 0 && (character == " " || character == "\t")
      } ?? rest.endIndex
    defer { rest = rest[end...] }
    return String(rest[..<end])
  }
}

extension String {
  var trimmed: String {
    func isSpace(_ character: Character) -> Bool { character.isWhitespace }
    let start = drop(while: isSpace)
    guard let last = start.lastIndex(where: { !isSpace($0) }) else { return "" }
    return String(start[...last])
  }
}
