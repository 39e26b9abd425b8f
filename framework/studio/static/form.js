// The form of all settings, made from the server's description of them.

export class SettingsForm {
  constructor(form, fields, changed) {
    this.changed = changed;
    this.inputs = {};
    for (const field of fields) {
      const label = form.appendChild(document.createElement("label"));
      label.append(field.name.replaceAll("_", " "));
      const input = label.appendChild(document.createElement(field.choices.length ? "select" : "input"));
      input.name = field.name;
      for (const choice of field.choices) input.append(new Option(choice, choice));
      if (!field.choices.length) {
        input.type = field.kind === "bool" ? "checkbox" : field.kind === "str" ? "text" : "number";
        input.step = field.kind === "int" ? "1" : "any";
        input.placeholder = field.optional ? "auto" : "";
      }
      const help = label.appendChild(document.createElement("small"));
      help.textContent = field.help;
      help.id = `help-${field.name}`;
      input.setAttribute("aria-describedby", help.id);
      input.addEventListener("change", () => this.read(field, input));
      this.inputs[field.name] = { field, input };
    }
    form.addEventListener("submit", (event) => event.preventDefault());
  }

  read(field, input) {
    let value = input.value;
    if (field.kind === "bool") value = input.checked;
    else if (field.kind !== "str" && !field.choices.length) value = value === "" ? null : Number(value);
    this.changed(field.name, value);
  }

  show(values) {
    for (const [name, { input }] of Object.entries(this.inputs)) {
      if (input === document.activeElement) continue;
      if (input.type === "checkbox") input.checked = values[name] ?? false;
      else input.value = values[name] ?? "";
    }
  }
}
