SwaggerUIBundle({
  url: document.getElementById("contract").dataset.contract,
  dom_id: "#contract",
  deepLinking: true,
  docExpansion: "list",
  displayRequestDuration: true,
  validatorUrl: null,
});
