/** What tests need to know of Markdown: code blocks, links, headings, tables. */

/** A fenced code block. */
export interface CodeBlock {
  /** The file, from the root of the repository. */
  readonly path: string;
  /** The line of its first line of code, from 1. */
  readonly line: number;
  /** What stands behind the fence: the language, and marks of ours. */
  readonly words: readonly string[];
  readonly code: string;
  /** The line before the fence, if it is a comment: `<!-- not run: why -->`. */
  readonly comment: string;
}

/** A link, or a picture. */
export interface Link {
  readonly line: number;
  readonly target: string;
}

const FENCE = /^( *)(`{3,}|~{3,})(.*)$/;

/** The fenced code blocks of a text, in order. */
export function codeBlocks(path: string, text: string): CodeBlock[] {
  const blocks: CodeBlock[] = [];
  const lines = text.split("\n");
  for (let at = 0; at < lines.length; at++) {
    const [, indent = "", fence = "", info = ""] = FENCE.exec(lines[at]!) ?? [];
    if (fence === "") continue;
    const begin = at + 1;
    const end = lines.findIndex((line, index) =>
      index >= begin && line.trim().startsWith(fence) &&
      line.trim().replaceAll(fence[0]!, "") === ""
    );
    if (end < 0) throw new Error(`${path}:${at + 1}: a fence without an end`);
    const before = lines.slice(0, at).findLast((line) => line.trim() !== "");
    const code = lines.slice(begin, end).map((line) =>
      line.startsWith(indent) ? line.slice(indent.length) : line
    );
    blocks.push({
      path,
      line: begin + 1,
      words: info.trim().split(/\s+/),
      code: `${code.join("\n")}\n`,
      comment: /^<!-- (.*) -->$/.exec(before?.trim() ?? "")?.[1] ?? "",
    });
    at = end;
  }
  return blocks;
}

/** The text without code, in which nothing is a link. */
function prose(text: string): string[] {
  let fence = "";
  return text.split("\n").map((line) => {
    const [, , mark = ""] = FENCE.exec(line) ?? [];
    if (fence === "" && mark !== "") fence = mark;
    else if (fence !== "" && line.trim() === fence) fence = "";
    else if (fence === "") return line.replaceAll(/`[^`]*`/g, "``");
    return "";
  });
}

/** The links of a text: inline, by reference, and of HTML. */
export function links(text: string): Link[] {
  return prose(text).flatMap((line, index) => {
    const inline = line.matchAll(/\]\(<?([^()<>\s]+)>?(?: "[^"]*")?\)/g);
    const references = line.matchAll(/^ *\[[^\]]+\]: +<?([^<>\s]+)>?/g);
    const html = line.matchAll(/\b(?:href|src|srcset)="([^"]+)"/g);
    return [...inline, ...references, ...html].map(([, target]) => ({
      line: index + 1,
      target: target!,
    }));
  });
}

/** The anchors that GitHub gives to headings, and those given by hand. */
export function anchors(text: string): Set<string> {
  const found = new Set<string>();
  const fences = codeBlocks("", text);
  text.split("\n").forEach((line, index) => {
    for (const [, id] of line.matchAll(/\b(?:id|name)="([^"]+)"/g)) {
      found.add(id!);
    }
    const isCode = fences.some((block) =>
      index + 1 >= block.line &&
      index + 1 < block.line + block.code.split("\n").length - 1
    );
    const [, title] = /^#{1,6} +(.*?) *#*$/.exec(isCode ? "" : line) ?? [];
    if (title === undefined) return;
    const slug = title.replaceAll(/\[([^\]]*)\]\([^)]*\)/g, "$1")
      .toLowerCase().replaceAll(/[^\p{L}\p{M}\p{N}\p{Pc} -]/gu, "")
      .replaceAll(" ", "-");
    let unique = slug;
    for (let i = 1; found.has(unique); i++) unique = `${slug}-${i}`;
    found.add(unique);
  });
  return found;
}

/** The rows of all tables whose header names all of the columns. */
export function tableRows(
  text: string,
  columns: readonly string[],
): Record<string, string>[] {
  const rows: Record<string, string>[] = [];
  let header: string[] | undefined;
  for (const line of text.split("\n")) {
    if (!line.startsWith("|")) {
      header = undefined;
      continue;
    }
    const cells = line.slice(1).replace(/\|\s*$/, "")
      .split(/(?<!\\)\|/).map((cell) => cell.trim().replaceAll("\\|", "|"));
    if (header === undefined) header = cells;
    else if (
      !/^[-: |]+$/.test(line) && columns.every((it) => header!.includes(it))
    ) {
      rows.push(
        Object.fromEntries(header.map((name, i) => [name, cells[i] ?? ""])),
      );
    }
  }
  return rows;
}
